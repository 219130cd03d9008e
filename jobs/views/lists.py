"""The jobs list and its live cells."""

from __future__ import annotations

from dataclasses import dataclass

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.safestring import SafeString
from django.views.decorators.http import require_GET

from hone.accounts.requests import current_organisation
from hone.core.htmx import target, vary
from jobs.models import FINAL, Job, Status
from jobs.selectors import job_list
from jobs.selectors.browse import (
    attention_of,
    job_counts,
    latest_event_id,
    validation_trends,
)
from jobs.views.headings import Badge, job_badge
from jobs.views.svg import sparkline

PAGE = 50
LIVE_IDS = 200


@dataclass(frozen=True)
class JobLine:
    """A row of the list."""

    job: Job
    badge: Badge
    change: float | None
    trend: SafeString
    attention: str


@require_GET
def job_list_page(request: HttpRequest) -> HttpResponse:
    """All jobs, or with `HX-Target: job-rows` the rows in view, in the order they are in."""
    organisation = current_organisation(request)
    if target(request) == "job-rows":
        ids = request.GET.get("ids", "").split(",")[:LIVE_IDS]
        found = {job.pk: job for job in job_list(organisation).filter(pk__in=ids)}
        shown = [found[each] for each in ids if each in found]
        return vary(render(request, "jobs/job_rows.html", _lines(shown)))
    status, text, page = _asked(request)
    rows = job_list(organisation, status=status, text=text)
    jobs = list(rows[PAGE * page : PAGE * (page + 1) + 1])
    context = {
        **_lines(jobs[:PAGE]),
        "statuses": Status.choices,
        "chosen": status,
        "text": text,
        "counts": job_counts(organisation),
        "older": page + 1 if len(jobs) > PAGE else None,
        "newer": page - 1 if page else None,
        "mark": latest_event_id(organisation),
    }
    return vary(render(request, "jobs/job_list.html", context))


@require_GET
def job_list_pulse(request: HttpRequest) -> HttpResponse:
    """204 while nothing happened to any job since `since`; else the poller with the new mark."""
    organisation = current_organisation(request)
    mark = latest_event_id(organisation)
    if request.GET.get("since") == str(mark):
        return HttpResponse(status=204)
    response = render(request, "jobs/job_list_pulse.html", {"mark": mark, "news": True})
    response["HX-Trigger"] = "job-state"
    return response


def _asked(request: HttpRequest) -> tuple[str, str, int]:
    status = request.GET.get("status", "")
    page = request.GET.get("page", "")
    return (
        status if status in Status.values else "",
        request.GET.get("q", "").replace("\x00", "")[:200],
        min(int(page), 10_000) if page.isdecimal() and len(page) < 6 else 0,
    )


def _lines(jobs: list[Job]) -> dict[str, object]:
    trends, attention = validation_trends(jobs), attention_of(jobs)
    lines = [
        JobLine(
            job=job,
            badge=job_badge(job),
            change=_change(job),
            trend=sparkline(
                trends.get(job.pk, []), low=0.0, high=1.0, label=f"Validation reward of {job.name}"
            ),
            attention=job.error_message or attention.get(job.pk, ""),
        )
        for job in jobs
    ]
    live = any(job.status not in FINAL for job in jobs)
    return {"lines": lines, "ids": ",".join(job.pk for job in jobs), "live": live}


def _change(job: Job) -> float | None:
    if job.last_reward is None or job.baseline_reward is None or job.last_step < 1:
        return None
    return job.last_reward - job.baseline_reward
