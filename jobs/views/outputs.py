"""What a job leaves behind: its history and its spec."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from django.http import HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from hone.accounts.keys import opens_to_keys
from hone.accounts.requests import MemberRequest
from hone.core.figures import visible
from hone.tools.models import ToolVersion
from hone.tools.selectors import masked_headers
from jobs.forms.filters import address
from jobs.models import Job
from jobs.models.record import EventLevel
from jobs.selectors import access_job, job_history
from jobs.services.hyperparameters import AUTO
from jobs.views.headings import heading

LONGEST_SEARCH = 200
MOST_SHOWN = 40
"""Items of a list that the page prints; the JSON has all of them."""


@require_GET
def events_page(request: MemberRequest, job_id: str) -> HttpResponse:
    """The job's history, newest first; equal neighbours are one line."""
    job = access_job(request.user, job_id)
    given = request.GET.get("after", "")
    level = request.GET.get("level", "")
    level = level if level in EventLevel.values else ""
    text = request.GET.get("q", "").replace("\x00", "").strip()[:LONGEST_SEARCH]
    found = job_history(
        job,
        after=int(given) if given.isdecimal() and len(given) < 19 else None,
        level=level,
        text=text,
    )
    context = {
        **heading(request, job, "events"),
        "lines": found.lines,
        "levels": [
            (label, address(request.GET, level=value or None, after=None), value == level)
            for value, label in (("", "All"), *EventLevel.choices)
        ],
        "level": level,
        "text": text,
        "first": address(request.GET, after=None) if given else "",
        "older": address(request.GET, after=found.after) if found.after else "",
    }
    return render(request, "jobs/events.html", context)


@require_GET
def spec_page(request: MemberRequest, job_id: str) -> HttpResponse:
    """What exactly runs: what was set first, then what auto became and why."""
    job = access_job(request.user, job_id)
    settings = job.spec.get("settings") or []
    context = {
        **heading(request, job, "spec"),
        "inputs": list(_inputs(job.spec)),
        "tools": list(_tools(job)),
        "chosen": [each for each in settings if each.get("requested") != AUTO],
        "total": len(settings),
        "automatic": [each for each in settings if each.get("requested") == AUTO],
        "spec_text": visible(json.dumps(_shortened(job.spec), indent=2, ensure_ascii=False)),
    }
    return render(request, "jobs/spec.html", context)


@opens_to_keys
@require_GET
def spec_json(request: MemberRequest, job_id: str) -> JsonResponse:
    """The whole spec as it was frozen, with what the job's row holds of it. It has no secrets."""
    job = access_job(request.user, job_id)
    told = {"id": job.pk, "name": job.name, "seed": job.seed, "metadata": job.metadata}
    return JsonResponse({**told, **job.spec}, json_dumps_params={"indent": 2})


def _inputs(spec: dict[str, Any]) -> Iterator[dict[str, str]]:
    """The versions that a job was made from, with their hashes."""
    for key, title in (("train", "Training tasks"), ("validation", "Validation tasks")):
        found = spec.get(key) or {}
        words = f"{found.get('name', 'unknown')}, {found.get('rows', 'unknown')} rows"
        yield {"title": title, "words": words, "sha256": found.get("sha256", "")}
    grader = spec.get("grader") or {}
    yield _grader("Grader", grader)
    rewards = spec.get("turn_rewards") or {}
    if rewards.get("grader"):
        yield _grader("Turn grader", rewards["grader"])
    if rewards.get("judge"):
        yield {"title": "Judge of turns", "words": rewards["judge"]["model"], "sha256": ""}
    if rewards.get("gold"):
        yield {"title": "Gold answer", "words": rewards["gold"], "sha256": ""}
    if spec.get("held_out_grader"):
        yield _grader("Held-out grader", spec["held_out_grader"])
    for named, judge in (spec.get("judges") or {}).items():
        words = f"{named}: {judge['model']} of {judge['name']}"
        yield {"title": "Judge", "words": words, "sha256": ""}
    if spec.get("recording"):
        recording = spec["recording"]
        yield {
            "title": "Tool calls answered by",
            "words": f"the recording {recording['name']}",
            "sha256": recording["sha256"],
        }


def _grader(title: str, frozen: dict[str, Any]) -> dict[str, str]:
    return {
        "title": title,
        "words": frozen.get("name", "unknown"),
        "sha256": frozen.get("sha256", ""),
    }


def _tools(job: Job) -> Iterator[dict[str, Any]]:
    """Each tool as it was frozen; its headers by name, never by value."""
    versions: dict[str, ToolVersion] = {
        version.tool.name: version for version in job.tool_versions.select_related("tool")
    }
    for tool in job.spec.get("tools") or []:
        version = versions.get(tool["name"])
        yield {
            "name": tool["name"],
            "version": f"v{version.number}" if version else "deleted since",
            "url": tool.get("url", ""),
            "headers": masked_headers(version) if version else {},
            "sha256": _sha256(tool),
        }


def _sha256(frozen: Mapping[str, Any]) -> str:
    text = json.dumps(frozen, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


def _shortened(value: Any) -> Any:
    """Without the ends of lists that would make the page long, such as the rows of a split."""
    if isinstance(value, dict):
        return {key: _shortened(inner) for key, inner in value.items()}
    if isinstance(value, list):
        left = len(value) - MOST_SHOWN
        shown = [_shortened(inner) for inner in value[:MOST_SHOWN]]
        return [*shown, f"… {left} more in the JSON"] if left > 0 else shown
    return value
