"""Files about a job: the contract's result file, JSON, and one page that opens without a server."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

from django.contrib.staticfiles import finders
from django.http import Http404, HttpResponse, StreamingHttpResponse
from django.template.loader import render_to_string
from django.utils.safestring import SafeString
from django.views.decorators.http import require_GET

from hone.accounts.keys import opens_to_keys
from hone.accounts.requests import MemberRequest
from hone.core import figures
from hone.core.figures import visible
from hone.core.spreadsheets import csv_lines
from jobs.models import Job, Status
from jobs.selectors import access_job, job_series
from jobs.selectors.reports.results import result_columns, result_rows
from jobs.selectors.reports.whole import (
    adapter_facts,
    ends_of,
    job_alarms,
    job_usage,
    report_checkpoints,
    report_pieces,
)
from jobs.services.hyperparameters import AUTO
from jobs.views.chart_tables import chart_table
from jobs.views.job_charts import job_charts
from jobs.views.shown_charts import shown_chart
from jobs.words import FLAG_WORDS, STATUS_ICONS, STOP_WORDS

STYLES = ("tokens", "base", "parts", "jobs", "report")
"""The style sheets that the page carries in itself."""
MOST_ALARMS = 100
_Response = TypeVar("_Response", HttpResponse, StreamingHttpResponse)


@opens_to_keys
@require_GET
def results_csv(request: MemberRequest, job_id: str) -> StreamingHttpResponse:
    """The result file, a row a step, sent while it is read."""
    job = _job(request, job_id)
    response = StreamingHttpResponse(_csv(job), content_type="text/csv; charset=utf-8")
    return _named(response, f"{job.pk}-results.csv")


@opens_to_keys
@require_GET
def report_json(request: MemberRequest, job_id: str) -> StreamingHttpResponse:
    """Everything that is stored of the job but its trajectories."""
    job = _job(request, job_id)
    response = StreamingHttpResponse(report_pieces(job), content_type="application/json")
    return _named(response, f"{job.pk}-report.json")


@require_GET
def report_html(request: MemberRequest, job_id: str) -> HttpResponse:
    """One file with pictures and styles in it; it asks nothing of any server."""
    job = _job(request, job_id)
    response = HttpResponse(render_to_string("reports/job.html", _report(job)))
    return _named(response, f"{job.pk}-report.html")


def _job(request: MemberRequest, job_id: str) -> Job:
    job = access_job(request.user, job_id)
    if not job.trains:
        raise Http404("There is nothing here that you can see.")
    return job


def _named(response: _Response, name: str) -> _Response:
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


def _csv(job: Job) -> Iterator[str]:
    columns = result_columns(job)
    head = ["step", *(column.name for column in columns)]
    return csv_lines(chain([head], result_rows(job, columns)))


def _report(job: Job) -> dict[str, Any]:
    charts = [chart for chart in job_charts(job_series(job)) if chart.has_data]
    icon, tone = STATUS_ICONS[job.status]
    alarms = list(job_alarms(job).order_by("-pk")[: MOST_ALARMS + 1])
    styles = _styles()
    return {
        "job": job,
        "icon": icon,
        "tone": tone,
        "status": Status(job.status).label,
        "verdict": _verdict(job),
        "charts": [(shown_chart(chart), chart_table(chart)) for chart in charts],
        "usage": job_usage(job),
        "adapter": adapter_facts(job),
        "checkpoints": report_checkpoints(job),
        "alarms": alarms[:MOST_ALARMS][::-1],
        "has_older_alarms": len(alarms) > MOST_ALARMS,
        "settings": sorted(
            job.spec.get("settings") or [], key=lambda each: each.get("requested") == AUTO
        ),
        "spec_text": visible(json.dumps(job.spec, indent=2, ensure_ascii=False)),
        "styles": styles,
        "styles_hash": base64.b64encode(hashlib.sha256(styles.encode()).digest()).decode(),
        **_ends(job),
    }


def _ends(job: Job) -> dict[str, Any]:
    if job.best_step is None:
        return {}
    best, worst, graded, ungraded = ends_of(job, job.best_step)
    return {
        "ends": [
            ("Highest rewards", [_index_line(each) for each in best]),
            ("Lowest rewards", [_index_line(each) for each in worst]),
        ],
        "graded": graded,
        "ungraded": ungraded,
    }


def _index_line(row: Any) -> dict[str, Any]:
    return {
        "trajectory": row,
        "task": row.row + 1,
        "stop": STOP_WORDS.get(row.stop, row.stop),
        "flags": ", ".join(FLAG_WORDS.get(flag, flag) for flag in row.flags),
    }


def _verdict(job: Job) -> str:
    """What came of it, in one line."""
    if job.best_reward is None or job.baseline_reward is None:
        said = "The base model was not evaluated."
    elif job.best_step == 0:
        said = f"Validation reward of the base model {figures.reward(job.baseline_reward)}."
    else:
        said = (
            f"Validation reward {figures.reward(job.best_reward)} at its best step "
            f"{job.best_step}, base {figures.reward(job.baseline_reward)} "
            f"({figures.signed(job.best_reward - job.baseline_reward)})."
        )
    return f"{said} {job.error_message}".strip()


def _styles() -> SafeString:
    """The sheets as one text; our own files, so nothing in them is escaped."""
    paths = [finders.find(f"css/{name}.css") for name in STYLES]
    return SafeString("\n".join(Path(str(path)).read_text() for path in paths))
