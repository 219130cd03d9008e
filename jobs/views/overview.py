"""A job's first page: verdict, figures, charts; and what keeps it live."""

from __future__ import annotations

import csv
from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from hone.accounts.requests import MemberRequest
from hone.core.htmx import target, vary
from jobs.models import Job, Status
from jobs.selectors import access_job, job_overview, job_series
from jobs.selectors.browse import job_mark, job_steps
from jobs.views.charts import after, job_charts
from jobs.views.headings import heading
from jobs.views.shown_charts import shown_chart
from jobs.views.step_table import CSV_COLUMNS, csv_row, step_rows
from jobs.views.tiles import shown_tiles
from jobs.words import PHASE_WORDS

FRAGMENTS = {
    "job-actions": "jobs/job_actions.html",
    "numbers": "jobs/job_numbers.html",
    "outcome": "jobs/job_outcome.html",
}
TABLE_ROWS = 50


@require_GET
def job_page(request: MemberRequest, job_id: str) -> HttpResponse:
    """The overview, or the one panel of it that `HX-Target` names."""
    job = access_job(request.user, job_id)
    template = FRAGMENTS.get(target(request), "jobs/job_overview.html")
    return vary(render(request, template, _overview(request, job)))


@require_GET
def job_pulse(request: MemberRequest, job_id: str) -> HttpResponse:
    """204 while nothing is new; else state, verdict and figures, and what happened as a trigger."""
    job = access_job(request.user, job_id)
    mark, since = job_mark(job), request.GET.get("since", "")
    if since == str(mark):
        return HttpResponse(status=204)
    before = since.split("~")
    is_new_state = before[1:3] != [mark.status, mark.wanted]
    glance = {**_glance(request, job), "announce": is_new_state}
    response = render(request, "jobs/job_pulse.html", glance)
    events = ["job-step"] if before[0] != str(mark.step) else []
    if is_new_state:
        events.append("job-state")
    if events:
        response["HX-Trigger"] = ", ".join(events)
    return vary(response)


@require_GET
def job_series_json(request: MemberRequest, job_id: str) -> JsonResponse:
    """The charts' points after a step; all of them without `after`."""
    job = access_job(request.user, job_id)
    given = request.GET.get("after", "-1").removeprefix("+")
    step = int(given) if given.isdecimal() and len(given) < 10 else -1
    charts = [after(chart, step) for chart in job_charts(job_series(job))]
    return JsonResponse({"charts": [chart.as_json() for chart in charts]})


@require_GET
def job_steps_csv(request: MemberRequest, job_id: str) -> HttpResponse:
    """Every committed step with its figures, unrounded."""
    job = access_job(request.user, job_id)
    response = HttpResponse(content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="{job.pk}-steps.csv"'
    writer = csv.writer(response)
    writer.writerow(["step", *CSV_COLUMNS])
    writer.writerows(csv_row(step) for step in job_steps(job).iterator())
    return response


def _glance(request: HttpRequest, job: Job) -> dict[str, Any]:
    overview = job_overview(job)
    return {
        **heading(request, job, "overview"),
        "overview": overview,
        "tiles": shown_tiles(overview.tiles, overview.steps),
        "phase": PHASE_WORDS.get(overview.phase.get("phase", ""), ""),
        "is_running": job.status == Status.RUNNING,
    }


def _overview(request: HttpRequest, job: Job) -> dict[str, Any]:
    glance = _glance(request, job)
    charts = job_charts(job_series(job))
    steps = glance["overview"].steps
    return {
        **glance,
        "charts": [shown_chart(chart) for chart in charts],
        "chart_data": [chart.as_json() for chart in charts],
        "rows": step_rows(steps[-TABLE_ROWS:]),
        "rows_left_out": max(0, len(steps) - TABLE_ROWS),
        "adapter": getattr(job, "adapter", None),
        "no_signal": glance["overview"].no_signal,
    }
