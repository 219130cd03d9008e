"""The background report on the dataset's page, and what two versions have in common."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe

from hone.accounts.requests import MemberRequest
from hone.core.errors import UserError
from hone.datasets.models import DatasetVersion
from hone.datasets.selectors import access_dataset_version, access_version, versions_beside
from hone.datasets.services.findings import findings_again, findings_compared

BAR_UNITS = 40


@require_safe
def dataset_overlap_page(request: MemberRequest, dataset_id: str, number: int) -> HttpResponse:
    """Rows of this version that another has too."""
    version = access_dataset_version(request.user, dataset_id, number)
    context: dict[str, Any] = {"version": version, "others": versions_beside(version)}
    if chosen := request.GET.get("other"):
        other = access_version(request.user, chosen)
        context["other"] = other
        try:
            context["found"] = findings_compared(version, other)
        except UserError as error:
            context["error"] = error
    return render(request, "datasets/overlap.html", context)


@require_POST
def dataset_report_again(request: MemberRequest, dataset_id: str, number: int) -> HttpResponse:
    version = access_dataset_version(request.user, dataset_id, number, need="write")
    findings_again(acting_user=request.user, version=version)
    messages.success(request, f"The rows of {version} are looked through again.")
    return redirect("dataset-version", dataset_id, number)


def findings_shown(version: DatasetVersion) -> dict[str, Any]:
    """The report as a page shows it."""
    findings = version.findings
    done = findings.get("state") == "done"
    return {
        "findings": findings if done else None,
        "findings_state": findings.get("state", "waiting"),
        "lengths": [_bars(each) for each in findings["lengths"]] if done else [],
        "leaks": [each for each in findings["leaks"] if each["likely"]] if done else [],
    }


def _bars(lengths: dict[str, Any]) -> dict[str, Any]:
    """A histogram as bars of an SVG, with what each says in words."""
    tallest = max(lengths["bins"]) or 1
    step = (lengths["high"] - lengths["low"]) / len(lengths["bins"])
    bars = [
        {
            "x": place * 10,
            "y": BAR_UNITS - round(BAR_UNITS * rows / tallest, 1),
            "height": round(BAR_UNITS * rows / tallest, 1),
            "rows": rows,
            "low": round(lengths["low"] + place * step),
            "high": round(lengths["low"] + (place + 1) * step),
        }
        for place, rows in enumerate(lengths["bins"])
    ]
    return {**lengths, "bars": bars, "width": 10 * len(bars)}
