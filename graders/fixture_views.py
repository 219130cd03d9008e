"""Pages of fixtures: what each must score and what it does score, version by version."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from graders.fixture_forms import FixtureForm, RangeForm
from graders.models import Fixture, FixtureResult, GraderVersion
from graders.selectors import (
    access_fixture,
    access_grader,
    fixture_list,
    fixture_results,
    latest_version,
    version_list,
)
from graders.services import fixture_change, fixture_create, fixture_delete, fixtures_rerun
from hone.accounts.requests import MemberRequest
from hone.core.errors import UserError

SAMPLE = ("output_text", "output_tools", "item")


@dataclass(frozen=True)
class FixtureRow:
    """A fixture and what the shown version gave it; None: it was not run on this one."""

    fixture: Fixture
    result: FixtureResult | None

    @property
    def item(self) -> str:
        return json.dumps(self.fixture.item, indent=2, ensure_ascii=False)

    @property
    def calls(self) -> str:
        calls = self.fixture.sample.get("output_tools")
        return json.dumps(calls, indent=2, ensure_ascii=False) if calls else ""


def fixture_rows(version: GraderVersion) -> list[FixtureRow]:
    """The fixtures of the version's grader, those that fail first."""
    results = fixture_results(version)
    rows = [FixtureRow(each, results.get(each.pk)) for each in fixture_list(version.grader)]
    return sorted(rows, key=_place)


def _place(row: FixtureRow) -> int:
    if row.result is None:
        return 1
    return 2 if row.result.passed else 0


@require_safe
def fixtures_page(request: MemberRequest, grader_id: str) -> HttpResponse:
    grader = access_grader(request.user, grader_id)
    versions = list(version_list(grader))
    asked = request.GET.get("v", "")
    version = next((each for each in versions if str(each.number) == asked), versions[0])
    rows = fixture_rows(version)
    context = {
        "grader": grader,
        "version": version,
        "versions": versions,
        "is_latest": version == versions[0],
        "rows": rows,
        "failing": _count(rows, passed=False),
        "passing": _count(rows, passed=True),
    }
    return render(request, "graders/fixtures.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
def fixture_new(request: MemberRequest, grader_id: str) -> HttpResponse:
    grader = access_grader(request.user, grader_id, need="write")
    # The editor sends the sample that was tried there; its score and name are asked for here.
    tried = request.POST.get("do") == "keep"
    start = {name: request.POST[name] for name in SAMPLE if tried and name in request.POST}
    sent = request.POST if request.method == "POST" and not tried else None
    form = FixtureForm(sent, initial={"low": 1, **start})
    if form.is_valid():
        try:
            sample, item = form.read_sample()
            fixture_create(
                acting_user=request.user,
                grader=grader,
                wanted=form.wanted(),
                sample=sample,
                item=item,
            )
            return redirect("fixtures", grader.id)
        except UserError as error:
            form.refuse(error)
    version = latest_version(grader)
    return render(
        request, "graders/fixture.html", {"grader": grader, "form": form, "version": version}
    )


@require_http_methods(["GET", "HEAD", "POST"])
def fixture_page(request: MemberRequest, grader_id: str, fixture_id: int) -> HttpResponse:
    """GET asks for another name or range; POST gives it."""
    fixture = access_fixture(request.user, grader_id, fixture_id, need="write")
    high = None if fixture.is_exact else fixture.high
    typed = {"name": fixture.name, "low": fixture.low, "high": high}
    form = RangeForm(request.POST or None, initial=typed)
    if form.is_valid():
        try:
            fixture_change(acting_user=request.user, fixture=fixture, wanted=form.wanted())
            return redirect("fixtures", grader_id)
        except UserError as error:
            form.refuse(error)
    version = latest_version(fixture.grader)
    row = FixtureRow(fixture, fixture_results(version).get(fixture.pk))
    context = {"grader": fixture.grader, "row": row, "form": form, "version": version}
    return render(request, "graders/fixture.html", context)


@require_POST
def fixture_delete_view(request: MemberRequest, grader_id: str, fixture_id: int) -> HttpResponse:
    fixture = access_fixture(request.user, grader_id, fixture_id, need="write")
    fixture_delete(acting_user=request.user, fixture=fixture)
    messages.success(request, f"The fixture {fixture.name} is deleted.")
    return redirect("fixtures", grader_id)


@require_POST
def fixtures_rerun_view(request: MemberRequest, grader_id: str) -> HttpResponse:
    grader = access_grader(request.user, grader_id, need="write")
    try:
        outcomes = fixtures_rerun(acting_user=request.user, grader=grader)
    except UserError as error:
        messages.error(request, error.message)
    else:
        passed = sum(outcome.passed for outcome in outcomes)
        messages.success(request, f"{passed} of {len(outcomes)} fixtures get their score.")
    return redirect("fixtures", grader.id)


def _count(rows: Iterable[FixtureRow], *, passed: bool) -> int:
    return sum(row.result is not None and row.result.passed == passed for row in rows)
