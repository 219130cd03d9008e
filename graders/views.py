"""Pages of graders: list, detail, and the editor that tries before it saves."""

from __future__ import annotations

import json

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from graders.errors import GraderVersionChanged
from graders.forms import STARTS, GraderForm, typed_start
from graders.kinds.base import Grading
from graders.kinds.registry import KINDS
from graders.models import Grader
from graders.selectors import access_grader, grader_list, latest_version, latest_versions
from graders.selectors import version_list as versions_of
from graders.services import (
    grader_archive,
    grader_create,
    grader_try,
    grader_version_add,
)
from hone.accounts.requests import MemberRequest, current_organisation
from hone.accounts.selectors import access_organisation
from hone.core.errors import UserError


@require_safe
def graders_page(request: MemberRequest) -> HttpResponse:
    organisation = current_organisation(request)
    context = {
        "versions": latest_versions(organisation),
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
    context = {"grader": grader, "versions": versions, "version": version, "spec": spec}
    return render(request, "graders/detail.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
def grader_new(request: MemberRequest) -> HttpResponse:
    organisation = current_organisation(request)
    access_organisation(request.user, organisation.id, need="write")
    start = STARTS.get(request.GET.get("kind", ""), STARTS["python"])
    form = GraderForm(request.POST or None, base=start, named=False, initial=typed_start(start))
    if not form.is_valid() or request.POST.get("do") == "try":
        return _editor(request, form, None)
    try:
        grader = grader_create(
            acting_user=request.user,
            organisation=organisation,
            name=form.cleaned_data["name"],
            spec=form.read_spec(),
        )
    except UserError as error:
        form.refuse(error)
        return _editor(request, form, None)
    messages.success(request, f"{grader.name} is saved as version 1.")
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
        )
    except UserError as error:
        return _refused(request, form, grader, error)
    messages.success(request, f"{version} is the newest version.")
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
    return _editor(request, form, grader)


def _editor(request: MemberRequest, form: GraderForm, grader: Grader | None) -> HttpResponse:
    trying = request.POST.get("do") == "try"
    tried = _tried(form) if trying and form.is_valid() else None
    context = {
        "form": form,
        "grader": grader,
        "latest": latest_version(grader) if grader else None,
        "starts": _starts(),
        "tried": tried,
        "lead": "It was not run." if trying else "",
    }
    return render(request, "graders/editor.html", context)


def _tried(form: GraderForm) -> Grading | None:
    try:
        sample, item = form.read_sample()
        return grader_try(spec=form.read_spec(), sample=sample, item=item)
    except UserError as error:
        form.refuse(error)
        return None


def _starts() -> list[tuple[str, str]]:
    return [(kind, KINDS[kind].title) for kind in STARTS]
