"""What a job leaves: checkpoints, the adapter, its history and its spec."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from django.http import Http404, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET

from hone.accounts.requests import MemberRequest
from hone.core.errors import UserError
from hone.core.figures import visible
from jobs.forms.filters import address
from jobs.models import Adapter
from jobs.models.record import EventLevel
from jobs.selectors import (
    access_checkpoint,
    access_job,
    adapter_zip,
    checkpoint_zip,
    job_checkpoints,
    job_events,
)
from jobs.selectors.browse import has_no_signal
from jobs.services.hyperparameters import AUTO
from jobs.views.headings import heading
from jobs.views.messages import tell

PAGE = 50


@require_GET
def checkpoints_page(request: MemberRequest, job_id: str) -> HttpResponse:
    """Best first, then the newest; and the exported adapter with its proof."""
    job = access_job(request.user, job_id)
    context = {
        **heading(request, job, "checkpoints"),
        "checkpoints": job_checkpoints(job),
        "adapter": Adapter.objects.filter(job=job).first(),
        "no_signal": has_no_signal(job),
    }
    return render(request, "jobs/checkpoints.html", context)


@require_GET
def adapter_download(request: MemberRequest, job_id: str) -> HttpResponseBase:
    """The adapter as a zip, made while it is sent."""
    job = access_job(request.user, job_id)
    adapter = Adapter.objects.filter(job=job).first()
    if adapter is None:
        raise Http404("This job has no adapter.")
    try:
        return _sent(adapter_zip(adapter), f"{job.pk}-adapter.zip")
    except UserError as error:
        tell(request, error)
        return redirect("job-checkpoints", job.pk)


@require_GET
def checkpoint_download(request: MemberRequest, job_id: str, step: int) -> HttpResponseBase:
    """The adapter of a checkpoint as a zip: for jobs that ended without one of their own."""
    checkpoint = access_checkpoint(request.user, job_id, step)
    try:
        return _sent(checkpoint_zip(checkpoint), f"{job_id}-step-{step}-not-proved.zip")
    except UserError as error:
        tell(request, error)
        return redirect("job-checkpoints", job_id)


def _sent(pieces: Iterator[bytes], name: str) -> StreamingHttpResponse:
    response = StreamingHttpResponse(pieces, content_type="application/zip")
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


@require_GET
def events_page(request: MemberRequest, job_id: str) -> HttpResponse:
    """The job's history, newest first."""
    job = access_job(request.user, job_id)
    given = request.GET.get("after", "")
    level = request.GET.get("level", "")
    found = job_events(
        job,
        after=int(given) if given.isdecimal() and len(given) < 19 else None,
        level=level if level in EventLevel.values else "",
        limit=PAGE + 1,
    )
    context = {
        **heading(request, job, "events"),
        "events": found[:PAGE],
        "levels": [(value, label) for value, label in EventLevel.choices],
        "level": level,
        "older": f"{address(request.GET)}&after={found[PAGE - 1].pk}" if len(found) > PAGE else "",
    }
    return render(request, "jobs/events.html", context)


@require_GET
def spec_page(request: MemberRequest, job_id: str) -> HttpResponse:
    """What exactly runs: what was set first, then what auto became and why."""
    job = access_job(request.user, job_id)
    spec: dict[str, Any] = job.spec
    settings = spec.get("settings") or []
    context = {
        **heading(request, job, "spec"),
        "inputs": list(_inputs(spec)),
        "settings": sorted(settings, key=lambda each: each.get("requested") == AUTO),
        "spec_text": visible(json.dumps(spec, indent=2, ensure_ascii=False)),
    }
    return render(request, "jobs/spec.html", context)


def _inputs(spec: dict[str, Any]) -> Iterator[dict[str, str]]:
    """The versions that a job was made from, with their hashes."""
    for key, title in (("train", "Training tasks"), ("validation", "Validation tasks")):
        found = spec.get(key) or {}
        words = f"{found.get('name', 'unknown')}, {found.get('rows', 'unknown')} rows"
        yield {"title": title, "words": words, "sha256": found.get("sha256", "")}
    grader = spec.get("grader") or {}
    yield {
        "title": "Grader",
        "words": grader.get("name", "unknown"),
        "sha256": grader.get("sha256", ""),
    }
    for tool in spec.get("tools") or []:
        yield {"title": "Tool", "words": f"{tool.get('name')} at {tool.get('url')}", "sha256": ""}
