"""Files on their way to a version: how far the check is, the columns of a table, a split."""

from __future__ import annotations

import json
from typing import Any

from django.contrib import messages
from django.http import HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from hone.accounts.requests import MemberRequest, current_organisation
from hone.accounts.selectors import access_organisation
from hone.core.errors import UserError
from hone.core.htmx import target, vary
from hone.datasets.errors import Problem
from hone.datasets.forms import ColumnsForm, SplitForm
from hone.datasets.models import Intake, IntakeState
from hone.datasets.selectors import (
    access_dataset,
    access_dataset_version,
    access_intake,
    access_upload,
)
from hone.datasets.services.intakes import (
    dataset_split_make,
    intake_create,
    intake_set_columns,
    intake_table,
)
from hone.datasets.splits import Split
from hone.datasets.tables import Columns
from hone.datasets.views.problems import problem_kinds
from hone.datasets.views.uploads import body, refusals_as_json, text_of

PREVIEW_ROWS = 3


@require_POST
@refusals_as_json
def intake_new(request: MemberRequest) -> HttpResponse:
    """A completed upload becomes a dataset, or a version of one; answers where to look."""
    organisation = current_organisation(request)
    access_organisation(request.user, organisation.id, need="write")
    given = body(request)
    dataset_id = text_of(given, "dataset_id")
    intake = intake_create(
        acting_user=request.user,
        organisation=organisation,
        upload=access_upload(request.user, text_of(given, "upload_id"), need="write"),
        name=text_of(given, "name"),
        dataset=access_dataset(request.user, dataset_id, need="write") if dataset_id else None,
    )
    return JsonResponse({"id": intake.pk, "location": reverse("intake", args=[intake.pk])})


@require_safe
def intake_page(request: MemberRequest, intake_id: str) -> HttpResponse:
    """Where a file is; once it is stored, its dataset."""
    intake = access_intake(request.user, intake_id)
    here = target(request) == "intake"
    if intake.state == IntakeState.STORED and intake.version is not None:
        return _arrived(request, intake, here)
    if intake.state == IntakeState.ASKING and not here:
        return redirect("intake-columns", intake.pk)
    problems = [Problem(*each) for each in intake.problems]
    context = {"intake": intake, "kinds": problem_kinds(problems), "shown": len(problems)}
    page = "datasets/intake_state.html" if here else "datasets/intake.html"
    return vary(render(request, page, context))


@require_http_methods(["GET", "HEAD", "POST"])
def intake_columns_page(request: MemberRequest, intake_id: str) -> HttpResponse:
    """Which columns make the message, and which are kept; with what comes of the first rows."""
    intake = access_intake(request.user, intake_id, need="write")
    if intake.state != IntakeState.ASKING:
        return redirect("intake", intake.pk)
    try:
        names, cells = intake_table(intake, PREVIEW_ROWS)
    except UserError as error:
        return render(request, "datasets/columns.html", {"intake": intake, "unreadable": error})
    form = ColumnsForm(names, request.POST or None)
    if form.is_valid():
        try:
            columns = form.columns
            columns.refuse_unknown(names)
            if "preview" not in request.POST:
                intake_set_columns(acting_user=request.user, intake=intake, columns=columns)
                return redirect("intake", intake.pk)
        except UserError as error:
            form.refuse(error)
    made = _made(form.columns, cells) if not form.errors else []
    context = {"intake": intake, "form": form, "names": names, "cells": cells, "made": made}
    return render(request, "datasets/columns.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
def dataset_split_page(request: MemberRequest, dataset_id: str, number: int) -> HttpResponse:
    """Make two datasets of a version: for training and for validation."""
    version = access_dataset_version(request.user, dataset_id, number, need="write")
    form = SplitForm(version, request.POST or None)
    if form.is_valid():
        given = form.cleaned_data
        try:
            first, second = dataset_split_make(
                acting_user=request.user,
                version=version,
                split=Split(given["share"], given["seed"], given["by"]),
                names=(given["train"], given["validation"]),
            )
        except UserError as error:
            form.refuse(error)
        else:
            for intake in (first, second):
                _tell(request, intake)
            refused = next((each for each in (first, second) if each.state == "refused"), None)
            return redirect("intake", refused.pk) if refused else redirect("datasets")
    context = {"form": form, "version": version, "dataset": version.dataset}
    return render(request, "datasets/split.html", context)


def _arrived(request: MemberRequest, intake: Intake, here: bool) -> HttpResponse:
    assert intake.version is not None
    address = reverse("dataset", args=[intake.version.dataset_id])
    if here:
        return HttpResponse(headers={"HX-Redirect": reverse("intake", args=[intake.pk])})
    _tell(request, intake)
    return redirect(address)


def _tell(request: MemberRequest, intake: Intake) -> None:
    if intake.version is not None:
        rows = intake.version.rows
        messages.success(request, f"{intake.version} is stored with {rows} rows.")
    elif intake.state == IntakeState.REFUSED:
        messages.error(request, f"{intake.name} was not stored. {intake.message}")
    else:
        messages.info(request, f"{intake.name} is being made; see below.")


def _made(columns: Columns, cells: list[dict[str, Any]]) -> list[str]:
    """The first task rows as a person reads them."""
    rows = [columns.row(each) for each in cells]
    return [json.dumps(row, ensure_ascii=False, indent=2, default=str)[:4000] for row in rows]
