"""Pages of datasets: list, upload, detail, rows."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

import msgspec
from django.contrib import messages
from django.core.files.base import File
from django.core.files.storage import default_storage
from django.http import FileResponse, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from hone.accounts.keys import opens_to_keys
from hone.accounts.requests import MemberRequest, current_organisation
from hone.accounts.selectors import access_organisation
from hone.core.errors import UserError
from hone.core.htmx import target, vary
from hone.core.marking import marked
from hone.core.pointing import pointing_at
from hone.datasets.errors import DatasetRefused
from hone.datasets.forms import DatasetForm, VersionForm
from hone.datasets.models import Dataset, DatasetVersion
from hone.datasets.records import is_record
from hone.datasets.selectors import (
    RowHead,
    access_dataset,
    access_dataset_version,
    dataset_heads,
    dataset_list,
    dataset_users,
    intakes_listed,
    latest_version,
    rows_found,
    same_bytes,
)
from hone.datasets.services import (
    dataset_archive,
    dataset_create,
    dataset_delete,
    dataset_version_add,
)
from hone.datasets.services.intakes import SMALL_BYTES, intake_of_file
from hone.datasets.tables import table_kind
from hone.datasets.views.findings import findings_shown
from hone.datasets.views.problems import problem_kinds

ROWS_A_PAGE = 50
PREVIEW_ROWS = 5
MOST_SEARCHED = 200
LARGEST_ROW_NUMBER = 10**9
SHOWN_TEXT = 4000
SHOWN_CELL = 400
MOST_READ = 64 * 1024
"""Bytes of a row; of a longer one only the beginning is shown."""


@require_safe
def datasets_page(request: MemberRequest) -> HttpResponse:
    organisation = current_organisation(request)
    datasets = dataset_list(organisation)
    used = pointing_at(DatasetVersion, "dataset", dataset__organisation=organisation)
    rows = [_line(dataset, used[dataset.pk]) for dataset in datasets]
    context = {"rows": rows, "arriving": intakes_listed(organisation)}
    return render(request, "datasets/list.html", context)


def _line(dataset: Dataset, used: int) -> dict[str, Any]:
    """A dataset of the list, by its newest version; tokens are those of the first base model."""
    version = list(dataset.versions.all())[-1]
    shown = findings_shown(version)
    return {
        "dataset": dataset,
        "version": version,
        "tokens": shown["lengths"][0] if shown["lengths"] else None,
        "looked": shown["findings"] is not None,
        "leaks": [leak["key"] for leak in shown["leaks"]],
        "repeats": shown["findings"]["duplicates"]["rows"] if shown["findings"] else 0,
        "used": used,
    }


@require_http_methods(["GET", "HEAD", "POST"])
def dataset_new(request: MemberRequest) -> HttpResponse:
    organisation = current_organisation(request)
    access_organisation(request.user, organisation.id, need="write")
    form = DatasetForm(request.POST or None, request.FILES or None)
    if not form.is_valid():
        return _upload_page(request, form)
    try:
        if _is_for_later(form.cleaned_data["upload"]):
            return _later(request, form)
        version = dataset_create(
            acting_user=request.user, organisation=organisation, **form.cleaned_data
        )
    except UserError as error:
        return _upload_page(request, form, refused=error)
    messages.success(request, f"{version} is stored with {version.rows} rows.")
    return redirect("dataset", version.dataset_id)


@require_http_methods(["GET", "HEAD", "POST"])
def dataset_version_new(request: MemberRequest, dataset_id: str) -> HttpResponse:
    dataset = access_dataset(request.user, dataset_id, need="write")
    form = VersionForm(request.POST or None, request.FILES or None)
    if not form.is_valid():
        return _upload_page(request, form, dataset)
    upload = form.cleaned_data["upload"]
    try:
        if _is_for_later(upload):
            return _later(request, form, dataset)
        version = dataset_version_add(acting_user=request.user, dataset=dataset, upload=upload)
    except UserError as error:
        return _upload_page(request, form, dataset, refused=error)
    messages.success(request, f"{version} is stored with {version.rows} rows.")
    return redirect("dataset", dataset.pk)


def _is_for_later(upload: File[bytes]) -> bool:
    """Whether the file is checked by a worker, or its columns must be named first."""
    if upload.size > SMALL_BYTES or table_kind(upload.name or ""):
        return True
    upload.seek(0)
    line = upload.readline()
    upload.seek(0)
    return is_record(line)


def _later(
    request: MemberRequest, form: VersionForm, dataset: Dataset | None = None
) -> HttpResponse:
    intake = intake_of_file(
        acting_user=request.user,
        organisation=dataset.organisation if dataset else current_organisation(request),
        file=form.cleaned_data["upload"],
        name=form.cleaned_data.get("name", ""),
        dataset=dataset,
    )
    return redirect("intake", intake.pk)


@require_safe
def dataset_page(request: MemberRequest, dataset_id: str) -> HttpResponse:
    dataset = access_dataset(request.user, dataset_id)
    return _detail(request, latest_version(dataset))


@require_safe
def dataset_version_page(request: MemberRequest, dataset_id: str, number: int) -> HttpResponse:
    return _detail(request, access_dataset_version(request.user, dataset_id, number))


@require_safe
def dataset_rows_page(request: MemberRequest, dataset_id: str, number: int) -> HttpResponse:
    version = access_dataset_version(request.user, dataset_id, number)
    start = _row_number(request.GET.get("from", "1"))
    words = request.GET.get("q", "")[:MOST_SEARCHED]
    if words:
        return _search_page(request, version, words, start)
    rows = _shown_rows(version, start - 1, ROWS_A_PAGE)
    last = start + len(rows) - 1
    context = {
        "version": version,
        "rows": rows,
        "start": start,
        "last": last,
        "older": f"?from={last + 1}" if last < version.rows and rows else "",
    }
    return render(request, "datasets/rows.html", context)


def _search_page(
    request: MemberRequest, version: DatasetVersion, words: str, start: int
) -> HttpResponse:
    """Rows that hold the words; a large file is looked through a piece at a time."""
    found = rows_found(version, words, start=start - 1, most=ROWS_A_PAGE)
    rows = [row for at in found.rows for row in _shown_rows(version, at, 1, words)]
    more = urlencode({"q": words, "from": found.next + 1}) if found.next is not None else ""
    context = {
        "version": version,
        "rows": rows,
        "start": start,
        "words": words,
        "last": found.looked_to,
        "older": f"?{more}" if more else "",
    }
    return render(request, "datasets/rows.html", context)


@opens_to_keys
@require_safe
def dataset_download(request: MemberRequest, dataset_id: str, number: int) -> FileResponse:
    """The file as it was uploaded, streamed."""
    version = access_dataset_version(request.user, dataset_id, number)
    name = f"{version.dataset.name}-v{version.number}.jsonl"
    file = default_storage.open(version.storage_key)
    return FileResponse(file, as_attachment=True, filename=name, content_type="application/jsonl")


@require_POST
def dataset_archive_view(request: MemberRequest, dataset_id: str) -> HttpResponse:
    dataset = access_dataset(request.user, dataset_id, need="write")
    dataset_archive(acting_user=request.user, dataset=dataset)
    messages.success(request, f"{dataset.name} is archived. Jobs that use it keep it.")
    return redirect("datasets")


@require_http_methods(["GET", "HEAD", "POST"])
def dataset_delete_view(request: MemberRequest, dataset_id: str) -> HttpResponse:
    """GET asks and tells who uses it; POST deletes."""
    dataset = access_dataset(request.user, dataset_id, need="admin")
    if request.method == "POST":
        dataset_delete(acting_user=request.user, dataset=dataset)
        messages.success(request, f"{dataset.name} is deleted, with all its versions.")
        return redirect("datasets")
    context = {
        "dataset": dataset,
        "versions": dataset.versions.count(),
        "users": dataset_users(dataset),
    }
    return render(request, "datasets/delete.html", context)


def _detail(request: MemberRequest, version: DatasetVersion) -> HttpResponse:
    """The version; with `HX-Target: findings` its report alone."""
    if target(request) == "findings":
        context = {"dataset": version.dataset, "version": version, **findings_shown(version)}
        return vary(render(request, "datasets/findings.html", context))
    keys = version.report.get("keys", {})
    context = {
        "dataset": version.dataset,
        "version": version,
        "versions": version.dataset.versions.select_related("created_by").order_by("-number"),
        "keys": [(key, count, count / version.rows) for key, count in keys.items()],
        "tools": version.report.get("tools", {}),
        "rows": _shown_rows(version, 0, PREVIEW_ROWS),
        "same": same_bytes(version),
        **findings_shown(version),
    }
    return vary(render(request, "datasets/detail.html", context))


def _upload_page(
    request: MemberRequest,
    form: VersionForm,
    dataset: Dataset | None = None,
    refused: UserError | None = None,
) -> HttpResponse:
    if refused is not None:
        form.refuse(refused)
    report = refused if isinstance(refused, DatasetRefused) else None
    context: dict[str, Any] = {"form": form, "dataset": dataset, "report": report}
    if report is not None:
        context |= {"kinds": problem_kinds(report.problems), "shown": len(report.problems)}
    return render(request, "datasets/upload.html", context)


def _row_number(text: str) -> int:
    known = text.isascii() and text.isdigit() and len(text) < 10
    return max(1, min(int(text), LARGEST_ROW_NUMBER)) if known else 1


def _shown_rows(
    version: DatasetVersion, start: int, count: int, words: str = ""
) -> list[dict[str, Any]]:
    """Rows as a person reads them: number, the last message, the other keys, the whole text, each
    in pieces, of which some are the searched words."""
    rows = [_shown(head) for head in dataset_heads(version, start, count, MOST_READ)]
    texts = ("task", "others", "text")
    pieces = {f"{name}_pieces": name for name in texts}
    return [
        row | {key: marked(row.get(name, ""), words.split()) for key, name in pieces.items()}
        for row in rows
    ]


def _shown(head: RowHead) -> dict[str, Any]:
    if head.size > len(head.text):
        text = head.text.decode(errors="ignore")
        return {"number": head.number, "size": head.size, "text": text[:SHOWN_TEXT]}
    row = json.loads(head.text)
    text = msgspec.json.format(json.dumps(row, ensure_ascii=False), indent=2)
    others = {key: value for key, value in row.items() if key not in {"messages", "tools"}}
    return {
        "number": head.number,
        "task": _text(row["messages"][-1].get("content"))[:SHOWN_CELL],
        "others": json.dumps(others, ensure_ascii=False)[:SHOWN_CELL] if others else "",
        "text": text[:SHOWN_TEXT],
        "more": max(0, len(text) - SHOWN_TEXT),
    }


def _text(content: Any) -> str:
    """A message's text; parts are joined as the model reads them."""
    if isinstance(content, list):
        return "\n".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return str(content or "")
