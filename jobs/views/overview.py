"""A job's first page: verdict, figures, charts; and what keeps it live."""

from __future__ import annotations

import csv
from typing import Any

import msgspec
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.template.loader import render_to_string
from django.urls import reverse
from django.views.decorators.http import require_GET

from hone.accounts.keys import opens_to_keys
from hone.accounts.requests import MemberRequest
from hone.core.htmx import target, vary
from hone.core.spreadsheets import cells
from jobs.models import Job, Status
from jobs.selectors import access_job, job_overview
from jobs.selectors.attention import job_told
from jobs.selectors.browse import job_steps
from jobs.selectors.growing import lead_series, lead_sums
from jobs.selectors.leads import Lead, access_lead
from jobs.selectors.marks import Mark, access_mark, settled
from jobs.selectors.overview import lead_steps
from jobs.selectors.shared import shared
from jobs.selectors.usage import Sums, job_sums
from jobs.views.attention import attention
from jobs.views.chart_address import Asked, chart_asked, toolbar, whole_number
from jobs.views.chart_files import chart_file
from jobs.views.charts import FEW_POINTS, Chart, after, thinned
from jobs.views.costs import cost_sentence
from jobs.views.credit import job_credit_sentence
from jobs.views.for_all import Packed, for_all
from jobs.views.headings import heading, home
from jobs.views.job_charts import job_charts
from jobs.views.shown_charts import ShownChart, shown_chart
from jobs.views.step_table import CSV_COLUMNS, csv_row, step_rows
from jobs.views.strip import strip
from jobs.views.tiles import shown_tiles
from jobs.views.waits import halt
from jobs.words import PHASE_WORDS

INSIGHT_TABS = frozenset({"credit", "graders", "loops"})
"""Tabs that fetch themselves, whose pulse says no more than where the job stands."""
TABLE_ROWS = 50


@require_GET
def job_page(request: MemberRequest, job_id: str) -> HttpResponse:
    """The overview, or the one panel of it that `HX-Target` names."""
    panel = target(request)
    for_everybody = _shared_panel(request, job_id, panel) if panel in FOR_ALL else None
    if for_everybody is not None:
        return vary(for_everybody.answer(request))
    lead = access_lead(request.user, job_id)
    if not lead.job.trains:
        return redirect(home(lead.job))
    template, context = PANELS.get(panel, WHOLE)
    return vary(render(request, template, context(request, lead)))


@require_GET
def job_pulse(request: MemberRequest, job_id: str) -> HttpResponse:
    """204 while nothing is new; else state, verdict and figures, and what happened as a trigger."""
    mark, since = access_mark(request.user, job_id), request.GET.get("since", "")
    if since == str(mark):
        return HttpResponse(status=204)
    before = since.split("~")
    is_new_state = before[1:3] != [mark.status, mark.wanted]

    def made() -> str:
        lead = access_lead(request.user, job_id)
        return _pulse(request, lead, mark, announce=is_new_state) if lead.job.trains else ""

    def packed() -> Packed:
        return Packed.page(made())

    body: str | bytes
    if mark.status == Status.RUNNING:
        # Of a job at work it is the same for everybody.
        found = for_all(request, job_id, mark, f"pulse {is_new_state}", packed)
        body, response = found.plain, found.answer(request)
    else:
        body = made()
        response = HttpResponse(body)
    if not body:
        return redirect(f"{home(access_job(request.user, job_id))}pulse/")
    events = ["job-step"] if before[0] != str(mark.step) else []
    if is_new_state:
        events.append("job-state")
    if events:
        response["HX-Trigger"] = ", ".join(events)
    return vary(response)


def _pulse(request: HttpRequest, lead: Lead, mark: Mark, *, announce: bool) -> str:
    tab = request.GET.get("tab", "")
    is_tab = tab in INSIGHT_TABS
    shown = heading(request, lead.job, tab, lead.mark) if is_tab else _glance(request, lead)
    template = "jobs/tab_pulse.html" if is_tab else "jobs/job_pulse.html"
    return render_to_string(template, {**shown, "announce": announce, "mark": mark}, request)


@opens_to_keys
@require_GET
def job_series_json(request: MemberRequest, job_id: str) -> HttpResponse:
    """The charts' points after a step; all of them without `after`.

    Each chart's `keep` says how many of the points up to that step still stand: of a long job a
    point is many steps, and the newest one grows. `from`, `to`, `smooth` and `log` as in the
    page's address.
    """
    mark, step = access_mark(request.user, job_id), whole_number(request.GET.get("after", ""))
    points = for_all(
        request, job_id, settled(mark), "points",
        lambda: _points(access_lead(request.user, job_id), chart_asked(request), step),
    )  # fmt: skip
    return points.answer(request)


@require_GET
def job_chart(request: MemberRequest, job_id: str, key: str, form: str) -> HttpResponse:
    """One chart as a table (a page or, for htmx, its rows), as CSV or as a picture."""
    lead, asked = access_lead(request.user, job_id), chart_asked(request)
    job, columns = lead.job, lead_series(lead, asked.first, asked.last)
    charts = {chart.key: chart for chart in job_charts(columns, asked.view(job, columns))}
    chart = charts.get(key)
    if chart is None:
        raise Http404
    if form != "table":
        return chart_file(chart, form, f"{job.pk}-{key}")
    context = {**_frame(request, lead), "chart": shown_chart(chart)}
    fragment = target(request) == f"rows-{key}"
    template = "jobs/chart_table.html" if fragment else "jobs/chart_page.html"
    return vary(render(request, template, context))


@opens_to_keys
@require_GET
def job_steps_csv(request: MemberRequest, job_id: str) -> HttpResponse:
    """Every committed step with its figures, unrounded."""
    job = access_job(request.user, job_id)
    response = HttpResponse(content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="{job.pk}-steps.csv"'
    writer = csv.writer(response)
    writer.writerow(["step", *CSV_COLUMNS])
    writer.writerows(cells(csv_row(step)) for step in job_steps(job).iterator())
    return response


def _points(lead: Lead, asked: Asked, step: int | None) -> Packed:
    columns = lead_series(lead, asked.first, asked.last)
    view = asked.view(lead.job, columns)
    charts = job_charts(columns, view)
    shown = [chart.as_json() if step is None else after(chart, step) for chart in charts]
    found = {"whole": step is None, "half": view.half, "charts": shown}
    return Packed.of(msgspec.json.encode(found), "application/json")


def _shared_panel(request: MemberRequest, job_id: str, panel: str) -> Packed | None:
    """The panel of a job at work; None where it is another one for another person."""
    mark = access_mark(request.user, job_id)
    if mark.status != Status.RUNNING:
        return None

    def made() -> Packed | None:
        lead = access_lead(request.user, job_id)
        template, context = PANELS[panel]
        found = context(request, lead) if lead.job.trains else {}
        is_own = not found or (found.get("attention") or {}).get("alarms")
        return None if is_own else Packed.page(render_to_string(template, found, request))

    return for_all(request, job_id, settled(mark), panel, made)


def _frame(request: HttpRequest, lead: Lead) -> dict[str, Any]:
    return heading(request, lead.job, "overview", lead.mark)


def _glance(request: HttpRequest, lead: Lead) -> dict[str, Any]:
    job, focus = lead.job, whole_number(request.GET.get("step", ""))
    overview = job_overview(lead, focus=focus)
    spent = _spent(lead)
    frame = _frame(request, lead)
    return {
        **frame,
        "overview": overview,
        "halt": halt(overview.pause, may_write=frame["may_write_here"]),
        "tiles": shown_tiles(overview.tiles, overview.steps),
        "focus": focus,
        "focus_known": overview.focus is not None,
        "spent": spent,
        "cost": cost_sentence(job, spent, overview.left),
        "credit": job_credit_sentence(overview.steps),
        "phase": PHASE_WORDS.get(overview.phase.get("phase", ""), ""),
        "is_running": job.status == Status.RUNNING,
    }


def _spent(lead: Lead) -> Sums:
    """Of a job at work that of its newest step: whoever watches need not have it added up anew."""
    if lead.job.status != Status.RUNNING:
        return job_sums(lead.job)
    return lead_sums(lead)


def _outcome(request: HttpRequest, lead: Lead) -> dict[str, Any]:
    glance = _glance(request, lead)
    adapter, no_signal = getattr(lead.job, "adapter", None), glance["overview"].no_signal
    return {**glance, "adapter": adapter, "no_signal": no_signal}


def _numbers(request: HttpRequest, lead: Lead) -> dict[str, Any]:
    steps, _ = lead_steps(lead, whole_number(request.GET.get("step", "")))
    left_out = max(0, lead.job.last_step + 1 - TABLE_ROWS)
    rows = step_rows(steps[-TABLE_ROWS:])
    return {**_frame(request, lead), "rows": rows, "rows_left_out": left_out}


def _attention(request: HttpRequest, lead: Lead) -> dict[str, Any]:
    told = job_told(lead.job, request.user)
    steps = lead_steps(lead)[0] if told.alarms else []
    return {**_frame(request, lead), "attention": attention(lead.job, told.alarms, steps)}


def _strip(request: HttpRequest, lead: Lead) -> dict[str, Any]:
    asked = chart_asked(request)
    columns = lead_series(lead, asked.first, asked.last)
    told = job_told(lead.job, request.user)
    return {
        **_frame(request, lead),
        "asked": asked,
        "strip": strip(lead.job, columns, asked, told),
    }


def _overview(request: HttpRequest, lead: Lead) -> dict[str, Any]:
    job, asked = lead.job, chart_asked(request)
    columns = lead_series(lead, asked.first, asked.last)
    told = job_told(job, request.user)
    outcome = _outcome(request, lead)
    return {
        **outcome,
        **_numbers(request, lead),
        "attention": attention(job, told.alarms, outcome["overview"].steps),
        "strip": strip(job, columns, asked, told),
        "charts": shared(
            (*lead.state, job.status, "charts", asked.query),
            lambda: [
                job_shown_chart(job, chart, asked, wide=not at)
                for at, chart in enumerate(job_charts(columns, asked.view(job, columns)))
            ],
        ),
        "asked": asked,
        "toolbar": toolbar(request, asked, columns),
    }


def job_shown_chart(job: Job, chart: Chart, asked: Asked, *, wide: bool) -> ShownChart:
    """A chart with its doors."""
    address = {
        form: reverse("job-chart", args=[job.pk, chart.key, form]) + asked.query
        for form in ("csv", "svg", "table")
    }
    many = len(chart.steps) > FEW_POINTS
    return shown_chart(thinned(chart), data=chart, wide=wide, is_fetched=many, **address)


WHOLE = ("jobs/job_overview.html", _overview)
PANELS = {
    "job-actions": ("jobs/job_actions.html", _frame),
    "numbers": ("jobs/job_numbers.html", _numbers),
    "outcome": ("jobs/job_outcome.html", _outcome),
    "strip": ("jobs/job_strip.html", _strip),
    "attention": ("jobs/job_attention.html", _attention),
}
"""Each panel of the page by its id, with no more than it shows."""

FOR_ALL = frozenset({"numbers", "strip", "attention"})
"""Panels that show everybody the same; `attention` while nothing fired: then it has no buttons."""
