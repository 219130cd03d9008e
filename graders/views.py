"""Pages of graders: list, detail, and the editor that tries before it saves."""

from __future__ import annotations

import json
from collections.abc import Sequence

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils.text import slugify
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from graders.errors import FixturesFail, GraderVersionChanged
from graders.fixture_views import fixture_rows
from graders.forms import GraderForm
from graders.kinds.base import Grading
from graders.kinds.registry import KINDS
from graders.kinds.result import result_object
from graders.kinds.wire import export
from graders.models import Grader, GraderVersion
from graders.selectors import (
    access_grader,
    access_grader_version_number,
    fixture_counts,
    fixture_list,
    grader_list,
    latest_version,
    latest_versions,
)
from graders.selectors import version_list as versions_of
from graders.services import (
    Outcome,
    fixtures_run,
    grader_archive,
    grader_create,
    grader_try,
    grader_version_add,
    headers_fill,
    headers_take,
)
from graders.starts import PASTE, STARTS, typed_start
from hone.accounts.keys import opens_to_keys
from hone.accounts.requests import MemberRequest, current_organisation
from hone.accounts.selectors import access_organisation
from hone.core.errors import UserError
from hone.core.pointing import pointing_at


@require_safe
def graders_page(request: MemberRequest) -> HttpResponse:
    organisation = current_organisation(request)
    versions = latest_versions(organisation)
    counts = fixture_counts(versions)
    used = pointing_at(GraderVersion, "grader", grader__organisation=organisation)
    context = {
        "versions": [
            (version, counts.get(version.pk), used[version.grader_id]) for version in versions
        ],
        "archived": grader_list(organisation, archived=True),
        "starts": _starts(),
    }
    return render(request, "graders/list.html", context)


@require_safe
def grader_page(request: MemberRequest, grader_id: str) -> HttpResponse:
    grader = access_grader(request.user, grader_id)
    versions = list(versions_of(grader))
    asked = request.GET.get("v", "")
    version = next((each for each in versions if str(each.number) == asked), versions[0])
    spec = json.dumps(version.spec, indent=2, ensure_ascii=False)
    counts = fixture_counts(versions)
    context = {
        "grader": grader,
        "versions": [(each, counts.get(each.pk)) for each in versions],
        "version": version,
        "spec": spec,
        "fixtures": fixture_rows(version),
        "fixture_count": counts.get(version.pk),
    }
    return render(request, "graders/detail.html", context)


@opens_to_keys
@require_safe
def grader_export(request: MemberRequest, grader_id: str, number: int) -> HttpResponse:
    """The version as JSON that scripts for the contract take."""
    version = access_grader_version_number(request.user, grader_id, number)
    shown = json.dumps(export(version.spec, version.grader.name), indent=2, ensure_ascii=False)
    response = HttpResponse(shown + "\n", content_type="application/json; charset=utf-8")
    name = f"{slugify(version.grader.name) or 'grader'}-v{version.number}.json"
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


@require_http_methods(["GET", "HEAD", "POST"])
def grader_new(request: MemberRequest) -> HttpResponse:
    organisation = current_organisation(request)
    access_organisation(request.user, organisation.id, need="write")
    kind = request.GET.get("kind", "")
    start = {} if kind == PASTE else STARTS.get(kind, STARTS["python"])
    form = GraderForm(request.POST or None, base=start, named=False, initial=typed_start(start))
    if not form.is_valid() or request.POST.get("do") == "try":
        return _editor(request, form, None)
    try:
        spec = form.read_spec()
        grader = grader_create(
            acting_user=request.user,
            organisation=organisation,
            name=form.read_name(spec),
            spec=spec,
        )
    except UserError as error:
        form.refuse(error)
        return _editor(request, form, None)
    messages.success(request, " ".join([f"{grader.name} is saved as version 1.", *form.notes]))
    return redirect("grader", grader.id)


@require_http_methods(["GET", "HEAD", "POST"])
def grader_edit(request: MemberRequest, grader_id: str) -> HttpResponse:
    grader = access_grader(request.user, grader_id, need="write")
    latest = latest_version(grader)
    start = typed_start(latest.spec, latest.number)
    form = GraderForm(request.POST or None, base=latest.spec, named=True, initial=start)
    if not form.is_valid() or request.POST.get("do") == "try":
        return _editor(request, form, grader)
    try:
        version = grader_version_add(
            acting_user=request.user,
            grader=grader,
            spec=form.read_spec(),
            edited=form.cleaned_data["edited"] or 0,
            reason=form.cleaned_data["reason"],
        )
    except UserError as error:
        return _refused(request, form, grader, error)
    messages.success(request, " ".join([f"{version} is the newest version.", *form.notes]))
    return redirect("grader", grader.id)


@require_POST
def grader_archive_view(request: MemberRequest, grader_id: str) -> HttpResponse:
    grader = access_grader(request.user, grader_id, need="write")
    grader_archive(acting_user=request.user, grader=grader)
    messages.success(request, f"{grader.name} is archived. Jobs that use it keep it.")
    return redirect("graders")


def _refused(
    request: MemberRequest, form: GraderForm, grader: Grader, error: UserError
) -> HttpResponse:
    """The editor with the refusal; after a conflict the next save is on top of the newest."""
    form.refuse(error)
    if isinstance(error, GraderVersionChanged):
        typed = request.POST.copy()
        typed["edited"] = str(error.latest)
        form.data = typed
    outcomes = error.outcomes if isinstance(error, FixturesFail) else ()
    return _editor(request, form, grader, outcomes)


def _editor(
    request: MemberRequest,
    form: GraderForm,
    grader: Grader | None,
    outcomes: Sequence[Outcome] = (),
) -> HttpResponse:
    """`outcomes`: what the draft gave the fixtures, where it was not saved for them."""
    trying = request.POST.get("do") == "try"
    tried = _tried(request, form, grader) if trying and form.is_valid() else None
    if tried and grader:
        opened = headers_fill(*headers_take(form.read_spec(), latest_version(grader)))
        outcomes = fixtures_run(grader.organisation, opened, fixture_list(grader))
    context = {
        "outcomes": outcomes,
        "failing": any(not outcome.passed for outcome in outcomes),
        "form": form,
        "grader": grader,
        "latest": latest_version(grader) if grader else None,
        "starts": _starts(),
        "tried": tried,
        "result": _result(tried, form) if tried else "",
        "lead": "It was not run." if trying else "",
    }
    return render(request, "graders/editor.html", context)


def _tried(request: MemberRequest, form: GraderForm, grader: Grader | None) -> Grading | None:
    before = latest_version(grader) if grader else None
    try:
        sample, item = form.read_sample()
        return grader_try(
            spec=headers_fill(*headers_take(form.read_spec(), before)),
            sample=sample,
            item=item,
            organisation=current_organisation(request),
        )
    except UserError as error:
        form.refuse(error)
        return None


def _result(tried: Grading, form: GraderForm) -> str:
    """The trial as a script gets it."""
    return json.dumps(result_object(tried, form.read_spec()), indent=2, ensure_ascii=False)


def _starts() -> list[tuple[str, str]]:
    return [*((kind, KINDS[kind].title) for kind in STARTS), (PASTE, "Paste JSON")]
