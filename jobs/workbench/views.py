"""Pages of the workbench: comparisons, a new one, and one with all that it found."""

from __future__ import annotations

import json
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from hone.accounts.models import User
from hone.accounts.requests import MemberRequest, current_organisation
from hone.accounts.selectors import access_organisation, may
from hone.core.errors import UserError
from hone.core.htmx import target, vary
from jobs.models import Comparison
from jobs.views.messages import tell
from jobs.workbench.drawing import histogram, step_chart
from jobs.workbench.findings import FEW_MARKS, findings
from jobs.workbench.forms import DRAFT_KEY, STORED_KEY, ComparisonForm
from jobs.workbench.measures import FEWEST_RANKED
from jobs.workbench.rows import score_rows
from jobs.workbench.selectors import (
    PAGE,
    access_comparison,
    comparable_jobs,
    comparison_list,
    grader_versions,
    mark_range,
    score_page,
)
from jobs.workbench.services import comparison_cancel, comparison_create, comparison_delete

FILTERS = (
    ("", "all"),
    ("disagree", "disagreements"),
    ("ungraded", "ungraded by one"),
    ("marked", "marked by people"),
)
POLL = "1500ms"


@require_GET
def comparisons_page(request: MemberRequest) -> HttpResponse:
    """All comparisons of the organisation."""
    organisation = current_organisation(request)
    context = {
        "comparisons": comparison_list(organisation),
        "has_jobs": bool(comparable_jobs(organisation)),
    }
    return render(request, "workbench/list.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
def comparison_new(request: MemberRequest) -> HttpResponse:
    """GET, or the grader editor with a draft, asks what to compare; POST begins it."""
    organisation = current_organisation(request)
    access_organisation(request.user, organisation.id, need="write")
    jobs, versions = comparable_jobs(organisation), grader_versions(organisation)
    drafted = request.POST.get("do") == DRAFT_KEY
    sent = request.POST if request.method == "POST" and not drafted else None
    form = ComparisonForm(sent, jobs=jobs, versions=versions, initial=_start(request, drafted))
    if form.is_valid():
        job = next(job for job in jobs if job.pk == form.cleaned_data["job"])
        try:
            comparison = comparison_create(
                acting_user=request.user,
                job=job,
                sides=form.sides(),
                selection=form.selection(),
                repeats=form.cleaned_data["repeats"],
                mutations=form.cleaned_data["mutations"],
            )
            return redirect("comparison", comparison.pk)
        except UserError as error:
            form.refuse(error)
    context = {"form": form, "has_jobs": bool(jobs), "has_graders": bool(versions)}
    return render(request, "workbench/new.html", context)


@require_GET
def comparison_page(request: MemberRequest, comparison_id: str) -> HttpResponse:
    """The whole page, or the results alone where `HX-Target` names them."""
    comparison = access_comparison(request.user, comparison_id)
    template = "results" if target(request) == "results" else "comparison"
    return vary(render(request, f"workbench/{template}.html", _shown(request, comparison)))


@require_GET
def comparison_pulse(request: MemberRequest, comparison_id: str) -> HttpResponse:
    """204 while nothing is new; else how far it is, and a trigger for the results."""
    comparison = access_comparison(request.user, comparison_id)
    if request.GET.get("since") == _mark(comparison):
        return HttpResponse(status=204)
    response = render(request, "workbench/pulse.html", _glance(request, comparison))
    response["HX-Trigger"] = "comparison-news"
    return vary(response)


@require_POST
def comparison_cancel_view(request: MemberRequest, comparison_id: str) -> HttpResponse:
    comparison = access_comparison(request.user, comparison_id, need="write")
    try:
        comparison_cancel(acting_user=request.user, comparison=comparison)
    except UserError as error:
        tell(request, error)
    return redirect("comparison", comparison_id)


@require_POST
def comparison_delete_view(request: MemberRequest, comparison_id: str) -> HttpResponse:
    comparison = access_comparison(request.user, comparison_id, need="write")
    try:
        comparison_delete(acting_user=request.user, comparison=comparison)
    except UserError as error:
        tell(request, error)
        return redirect("comparison", comparison_id)
    messages.success(request, "The comparison is deleted.")
    return redirect("comparisons")


def _start(request: HttpRequest, drafted: bool) -> dict[str, Any]:
    """What the form begins with: what the address says, or the editor's draft."""
    chosen = {name: request.GET[name] for name in ("job", "a", "b") if name in request.GET}
    start = {"a": STORED_KEY, **chosen}
    if not drafted:
        return start
    source = request.POST.get("source")
    spec = request.POST.get("spec", "")
    if source is not None:
        made = {"type": "python", "source": source.replace("\r\n", "\n")}
        spec = json.dumps(made, indent=2, ensure_ascii=False)
    return {**start, "draft": spec, "b": DRAFT_KEY}


def _mark(comparison: Comparison) -> str:
    return f"{comparison.status}.{comparison.done}.{comparison.waits}"


def _glance(request: HttpRequest, comparison: Comparison) -> dict[str, Any]:
    assert isinstance(request.user, User)
    return {
        "comparison": comparison,
        "mark": _mark(comparison),
        "poll_every": POLL if comparison.is_open and request.GET.get("live") != "0" else "",
        "may_write_here": may(request.user, comparison.organisation_id, "write"),
    }


def _shown(request: HttpRequest, comparison: Comparison) -> dict[str, Any]:
    only = request.GET.get("only", "")
    start = _place(request)
    page, more = score_page(comparison, only=only, start=start)
    found = findings(comparison)
    version = comparison.job.grader_version
    return {
        **_glance(request, comparison),
        "found": found,
        "sides": (found.a, found.b),
        "few_marks": FEW_MARKS,
        "fewest_ranked": FEWEST_RANKED,
        "histogram": histogram(found),
        "chart": step_chart(found.steps, comparison.label_a, comparison.label_b),
        "rows": score_rows(page, request.user),
        "filters": [(key, word, key == only) for key, word in FILTERS],
        "only": only,
        "start": start,
        "older": start + PAGE if more else None,
        "newer": max(0, start - PAGE) if start else None,
        "marks": mark_range(version.spec if version else None),
    }


def _place(request: HttpRequest) -> int:
    given = request.GET.get("from", "")
    return int(given) if given.isdecimal() and len(given) < 6 else 0
