"""A preflight: how far it is, what it found, what to do about it; and the list of past ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import cos, pi, sin
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_POST

from hone.accounts.requests import MemberRequest, current_organisation
from hone.accounts.selectors import may
from hone.core.errors import UserError
from hone.core.htmx import target, vary
from jobs.models import Job, Run, RunKind, Status
from jobs.selectors import queue_place
from jobs.selectors.marks import job_mark
from jobs.selectors.preflights import access_preflight, preflight_list
from jobs.views.headings import Badge, heading, job_badge
from jobs.words import PHASE_WORDS
from jobs.workbench.preflight_figures import (
    Figures,
    Share,
    TaskFigures,
    signal_by_size,
)
from jobs.workbench.preflight_report import Report, preflight_report
from jobs.workbench.preflight_tasks import preflight_without

FRAGMENTS = {
    "job-actions": "jobs/job_actions.html",
    "found": "jobs/preflight_found.html",
}
PHASES = {**PHASE_WORDS, "learning": "Timing an update of the job's size"}
PAGE = 50
BAR_PX = 64
DOTS_W, DOTS_H = 320, 160
MOST_SPREAD = 0.5
"""The largest standard deviation of rewards from 0 to 1."""


@dataclass(frozen=True)
class Bar:
    """Tasks of one range of pass rates."""

    label: str
    n: int
    height: int

    @property
    def top(self) -> int:
        return BAR_PX - self.height


@dataclass(frozen=True)
class Dot:
    """A task in the picture of mean against spread."""

    x: float
    y: float
    title: str


@dataclass(frozen=True)
class PreflightLine:
    """A row of the list."""

    job: Job
    badge: Badge


@require_GET
def preflight_list_page(request: MemberRequest) -> HttpResponse:
    """The organisation's preflights, newest first, each with its verdict."""
    organisation = current_organisation(request)
    given = request.GET.get("page", "")
    page = int(given) if given.isdecimal() and len(given) < 5 else 0
    found = list(preflight_list(organisation)[PAGE * page : PAGE * (page + 1) + 1])
    context = {
        "lines": [PreflightLine(job, job_badge(job)) for job in found[:PAGE]],
        "older": page + 1 if len(found) > PAGE else None,
        "newer": page - 1 if page else None,
        "may_write": may(request.user, organisation.pk, "write"),
    }
    return render(request, "jobs/preflight_list.html", context)


@require_GET
def preflight_page(request: MemberRequest, job_id: str) -> HttpResponse:
    """The whole page, or the one panel of it that `HX-Target` names."""
    job = access_preflight(request.user, job_id)
    template = FRAGMENTS.get(target(request), "jobs/preflight.html")
    context = _glance(request, job)
    return vary(render(request, template, context | _found(context["report"])))


@require_GET
def preflight_pulse(request: MemberRequest, job_id: str) -> HttpResponse:
    """204 while nothing is new; else where it stands, and what happened as a trigger."""
    job = access_preflight(request.user, job_id)
    mark, since = job_mark(job), request.GET.get("since", "")
    if since == str(mark):
        return HttpResponse(status=204)
    before = since.split("~")
    is_new_state = before[1:3] != [mark.status, mark.wanted]
    context = {**_glance(request, job), "announce": is_new_state, "mark": mark}
    response = render(request, "jobs/preflight_pulse.html", context)
    happened = ["job-step"] if before[0] != str(mark.step) else []
    if is_new_state:
        happened.append("job-state")
    if happened:
        response["HX-Trigger"] = ", ".join(happened)
    return vary(response)


@require_POST
def preflight_narrow(request: MemberRequest, job_id: str) -> HttpResponse:
    """The next version of the tasks, without those that taught nothing, and the form with it."""
    job = access_preflight(request.user, job_id, need="write")
    try:
        intake = preflight_without(acting_user=request.user, job=job)
    except UserError as refusal:
        messages.error(request, refusal.message)
        return redirect("preflight", job.pk)
    if intake.version is None:
        return redirect("intake", intake.pk)
    return redirect(f"{reverse('job-new')}?from={job.pk}&dataset={intake.version.pk}")


def _glance(request: HttpRequest, job: Job) -> dict[str, Any]:
    run = Run.objects.get(job=job, kind=RunKind.PREFLIGHT)
    running = job.status == Status.RUNNING
    progress = run.progress if running else {}
    return {
        **heading(request, job, "overview"),
        "preflight": job.preflight,
        "report": preflight_report(job),
        "progress": progress,
        "phase": PHASES.get(progress.get("phase", ""), ""),
        "pause_text": run.pause_text if run.status == Status.PAUSED else "",
        "queue_place": queue_place(job),
    }


def _found(report: Report) -> dict[str, Any]:
    figures = report.figures
    return {
        "figures": figures,
        "bars": _bars(figures.tasks),
        "dots": _dots(figures.tasks),
        "bound": _bound(),
        "dots_width": DOTS_W,
        "dots_height": DOTS_H,
        "idle_tasks": sum(task.teaches_nothing for task in figures.tasks),
        "health": _health(figures),
        "sizes": signal_by_size(figures.tasks),
    }


def _health(figures: Figures) -> list[tuple[str, Share, str]]:
    """What is said of each, and the filter that shows those attempts."""
    return [
        ("Calls not understood", figures.bad_calls, "flag=malformed_call"),
        ("Cut off", figures.cut_off, ""),
        ("… by tokens", figures.out_of_tokens, ""),
        ("Loops", figures.looped, "flag=looped"),
        ("Tool errors", figures.tool_errors, "flag=tool_error"),
        ("Tool faults", figures.tool_faults, "flag=tool_fault"),
        ("Out of time", figures.out_of_time, "stop=time_limit"),
        ("Grader errors", figures.grader_errors, "flag=ungraded"),
    ]


def _bars(tasks: Sequence[TaskFigures]) -> list[Bar]:
    """Exactly 0 and exactly 1 have bars of their own."""
    rates = [task.pass_rate for task in tasks if task.pass_rate is not None]
    counts = {
        "0": sum(rate == 0 for rate in rates),
        "to ¼": sum(0 < rate <= 0.25 for rate in rates),
        "to ½": sum(0.25 < rate <= 0.5 for rate in rates),
        "to ¾": sum(0.5 < rate <= 0.75 for rate in rates),
        "under 1": sum(0.75 < rate < 1 for rate in rates),
        "1": sum(rate == 1 for rate in rates),
    }
    most = max(counts.values(), default=0) or 1
    return [
        Bar(label, n, max(1, round(BAR_PX * n / most)) if n else 0) for label, n in counts.items()
    ]


def _dots(tasks: Sequence[TaskFigures]) -> list[Dot]:
    """Where the signal is; rewards beyond 0 to 1 stand at the edge."""
    return [
        Dot(
            x=round(DOTS_W * min(max(task.mean, 0.0), 1.0), 1),
            y=_height(task.spread),
            title=f"row {task.row + 1}: mean {task.mean:.3f}, spread {task.spread:.3f}",
        )
        for task in tasks
        if task.mean is not None and task.spread is not None
    ]


def _bound() -> str:
    """The most spread that rewards of 0 and 1 allow: √(m(1−m)), half a circle, as a path."""
    angles = [pi * place / 40 for place in range(41)]
    points = [((1 - cos(angle)) / 2, sin(angle) / 2) for angle in angles]
    return "M" + "L".join(f"{DOTS_W * mean:.1f} {_height(spread):.1f}" for mean, spread in points)


def _height(spread: float) -> float:
    return round(DOTS_H * (1 - min(spread, MOST_SPREAD) / MOST_SPREAD), 1)
