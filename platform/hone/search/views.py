"""Search: a pasted id leads to its page; words find things of every kind, grouped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_safe

from graders.models import Grader
from graders.selectors import grader_search
from hone.accounts.models import Organisation
from hone.accounts.requests import MemberRequest, current_organisation
from hone.core.figures import reward, visible
from hone.core.marking import marked
from hone.datasets.models import Dataset
from hone.datasets.selectors import dataset_search
from hone.search.ids import address_of, looks_like_id
from hone.tools.models import Tool
from hone.tools.selectors import tool_search
from jobs.models import BaseModel, Checkpoint, Job, Status, Trajectory
from jobs.selectors.search import (
    checkpoint_search,
    job_search,
    model_search,
    trajectory_search,
)
from jobs.views.headings import home

SHOWN = 10
LONGEST = 200


@dataclass(frozen=True)
class Found:
    """One thing: its title in pieces, each with whether it is a hit, what it is, and its page."""

    title: list[tuple[str, bool]]
    note: str
    address: str


@dataclass(frozen=True)
class Group:
    """Things of one kind; `everything` is the page that lists all of them, where there is one."""

    word: str
    found: list[Found]
    more: bool
    everything: str


@require_safe
def search_page(request: MemberRequest) -> HttpResponse:
    organisation = current_organisation(request)
    text = request.GET.get("q", "").replace("\x00", "").strip()[:LONGEST]
    place = address_of(request.user, text)
    if place:
        return redirect(place)
    is_id = looks_like_id(text)
    groups = _groups(organisation, text) if text and not is_id else []
    context = {"text": text, "is_id": is_id, "groups": [each for each in groups if each.found]}
    return render(request, "search/search.html", context)


def _groups(organisation: Organisation, text: str) -> list[Group]:
    """Seven queries, each of a bounded number of rows."""
    most = SHOWN + 1
    jobs = job_search(organisation, text, most)
    trajectories = trajectory_search(organisation, text, most)
    checkpoints = checkpoint_search(organisation, text, most)
    return [
        _group("Jobs", (_job(each, text) for each in jobs), f"{reverse('jobs')}?q={quote(text)}"),
        _group("Trajectories", (_trajectory(each, text) for each in trajectories)),
        _group("Checkpoints", (_checkpoint(each, text) for each in checkpoints)),
        _named("Datasets", "dataset", dataset_search(organisation, text, most), text),
        _named("Tools", "tool", tool_search(organisation, text, most), text),
        _named("Graders", "grader", grader_search(organisation, text, most), text),
        _group("Base models", (_model(each, text) for each in model_search(text, most))),
    ]


def _group(word: str, found: Iterable[Found], everything: str = "") -> Group:
    rows = list(found)
    return Group(word, rows[:SHOWN], len(rows) > SHOWN, everything)


def _named(word: str, page: str, rows: Sequence[Dataset | Tool | Grader], text: str) -> Group:
    found = (
        Found(
            titled(row.name, text),
            f"{row.pk} · archived" if row.archived else row.pk,
            reverse(page, args=[row.pk]),
        )
        for row in rows
    )
    return _group(word, found)


def _job(job: Job, text: str) -> Found:
    note = f"{Status(job.status).label} · {job.base_model.name} · {job.pk}"
    title = job.name if job.trains else f"{job.name} ({job.noun})"
    return Found(titled(title, text), visible(note), home(job))


def _trajectory(row: Trajectory, text: str) -> Found:
    given = "ungraded" if row.reward is None else f"reward {reward(row.reward)}"
    note = f"{row.run.job.name} · step {row.step} · {row.split} · {given}"
    return Found(
        titled(row.uid, text), visible(note), reverse("trajectory", args=[row.run.job_id, row.pk])
    )


def _checkpoint(row: Checkpoint, text: str) -> Found:
    title = titled(f"{row.run.job.name}, step {row.step}", text)
    note = f"validation reward {reward(row.validation_reward)} · {row.manifest_sha256[:12]}…"
    return Found(title, note, reverse("job-checkpoints", args=[row.run.job_id]))


def _model(row: BaseModel, text: str) -> Found:
    return Found(titled(row.name, text), row.get_status_display(), reverse("models"))


def titled(title: str, text: str) -> list[tuple[str, bool]]:
    """With control characters shown, in the hits as well."""
    return marked(visible(title), [visible(text)])
