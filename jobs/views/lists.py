"""The jobs list and its live cells."""

from __future__ import annotations

from dataclasses import dataclass

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.safestring import SafeString
from django.views.decorators.http import require_GET

from hone.accounts.models import Organisation
from hone.accounts.requests import current_organisation
from hone.core.htmx import target, vary
from jobs.forms.filters import address
from jobs.forms.job_list import filter_words, job_filters
from jobs.models import FINAL, Job, Status
from jobs.selectors import JobFilters, job_list
from jobs.selectors.browse import alarms_of, attention_of, job_counts, validation_trends
from jobs.selectors.forecast import TimeLeft, times_left
from jobs.selectors.listing import Choices, job_choices, moved, place_of, rank_of
from jobs.selectors.marks import jobs_mark
from jobs.views.headings import Badge, job_badge
from jobs.views.svg import sparkline

PAGE = 50
LIVE_IDS = 200


@dataclass(frozen=True)
class JobLine:
    """A row of the list."""

    job: Job
    address: str
    badge: Badge
    change: float | None
    trend: SafeString
    attention: str
    left: TimeLeft | None


@require_GET
def job_list_page(request: HttpRequest) -> HttpResponse:
    """All jobs, or with `HX-Target: job-rows` the rows in view, in the order they are in."""
    organisation = current_organisation(request)
    if target(request) == "job-rows":
        return vary(render(request, "jobs/job_rows.html", _live(request, organisation)))
    filters, after = job_filters(request.GET), request.GET.get("after", "")
    choices = job_choices(organisation)
    jobs = _found(organisation, filters, choices, after)
    context = {
        **_lines(request, jobs[:PAGE]),
        "statuses": Status.choices,
        "choices": choices,
        "asked": filters,
        "asked_words": filter_words(filters, choices),
        "counts": job_counts(organisation),
        "older": address(request.GET, after=place_of(jobs[PAGE - 1])) if len(jobs) > PAGE else "",
        "first": address(request.GET) if after else "",
        "mark": jobs_mark(organisation),
    }
    return vary(render(request, "jobs/job_list.html", context))


@require_GET
def job_list_pulse(request: HttpRequest) -> HttpResponse:
    """204 while nothing happened to any job since `since`; else the poller with the new mark."""
    organisation = current_organisation(request)
    mark = jobs_mark(organisation)
    if request.GET.get("since") == mark:
        return HttpResponse(status=204)
    response = render(request, "jobs/job_list_pulse.html", {"mark": mark, "news": True})
    response["HX-Trigger"] = "job-state"
    return response


def _live(request: HttpRequest, organisation: Organisation) -> dict[str, object]:
    """The rows in view as they are now, where they were; and how many belong elsewhere by now."""
    ids = request.GET.get("ids", "").split(",")[:LIVE_IDS]
    ranks = dict(zip(ids, request.GET.get("ranks", ""), strict=False))
    found = {job.pk: job for job in job_list(organisation).filter(pk__in=ids)}
    shown = [found[each] for each in ids if each in found]
    listed = "".join(ranks.get(job.pk, "") for job in shown)
    return {
        **_lines(request, shown),
        "ranks": listed,
        "moved": moved(shown, ranks),
        "is_live": True,
    }


def _found(
    organisation: Organisation, filters: JobFilters, choices: Choices, after: str
) -> list[Job]:
    """A page of jobs and one more, where there is one."""
    if filters.owner and filters.owner not in choices.owners:
        return []
    return list(job_list(organisation, filters, after=after)[: PAGE + 1])


def _lines(request: HttpRequest, jobs: list[Job]) -> dict[str, object]:
    trends, left = validation_trends(jobs), times_left(jobs)
    attention = {**alarms_of(jobs, request.user), **attention_of(jobs)}
    lines = [
        JobLine(
            job=job,
            address=reverse("job", args=[job.pk]),
            badge=job_badge(job),
            change=_change(job),
            trend=sparkline(
                trends.get(job.pk, []), low=0.0, high=1.0, label=f"Validation reward of {job.name}"
            ),
            attention=job.error_message or attention.get(job.pk, ""),
            left=left.get(job.pk),
        )
        for job in jobs
    ]
    live = any(job.status not in FINAL for job in jobs)
    return {
        "lines": lines,
        "ids": ",".join(job.pk for job in jobs),
        "live": live,
        "ranks": "".join(map(rank_of, jobs)),
    }


def _change(job: Job) -> float | None:
    if job.last_reward is None or job.baseline_reward is None or job.last_step < 1:
        return None
    return job.last_reward - job.baseline_reward
