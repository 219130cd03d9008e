"""A file that arrives in parts, for the browser: JSON in and out, in the words of the contract."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import wraps
from typing import Any

from django.core.files.base import File
from django.http import HttpResponse, JsonResponse
from django.views.decorators.http import require_POST, require_safe

from hone.accounts.requests import MemberRequest, current_organisation
from hone.accounts.selectors import access_organisation
from hone.core.errors import UserError
from hone.datasets.errors import DiskFull
from hone.datasets.models import Upload, UploadPart
from hone.datasets.selectors import access_upload
from hone.datasets.services.uploads import (
    upload_cancel,
    upload_complete,
    upload_create,
    upload_part_add,
)

INSUFFICIENT_STORAGE = 507
MOST_PARTS = 10_000

View = Callable[..., HttpResponse]


def refusals_as_json(view: View) -> View:
    """What a service refuses becomes the contract's error object."""

    @wraps(view)
    def wrapped(request: MemberRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        try:
            return view(request, *args, **kwargs)
        except UserError as error:
            status = INSUFFICIENT_STORAGE if isinstance(error, DiskFull) else 400
            return JsonResponse({"error": _error(error)}, status=status)

    return wrapped


@require_POST
@refusals_as_json
def upload_new(request: MemberRequest) -> HttpResponse:
    organisation = current_organisation(request)
    access_organisation(request.user, organisation.id, need="write")
    given = body(request)
    size = given.get("bytes")
    if not isinstance(size, int) or isinstance(size, bool):
        raise UserError("`bytes` must be the size of the file.", code="bytes", field="bytes")
    upload = upload_create(
        acting_user=request.user,
        organisation=organisation,
        filename=text_of(given, "filename"),
        size=size,
        purpose=text_of(given, "purpose") or "fine-tune",
        mime_type=text_of(given, "mime_type"),
    )
    return JsonResponse(shown(upload))


@require_safe
def upload_state(request: MemberRequest, upload_id: str) -> HttpResponse:
    """The upload with the parts that have arrived: whoever resumes sends the others."""
    upload = access_upload(request.user, upload_id)
    parts = [_part(part) for part in upload.parts.all()[:MOST_PARTS]]
    return JsonResponse({**shown(upload), "parts": parts})


@require_POST
@refusals_as_json
def upload_part(request: MemberRequest, upload_id: str) -> HttpResponse:
    upload = access_upload(request.user, upload_id, need="write")
    data = request.FILES.get("data")
    if not isinstance(data, File):
        raise UserError("The form has no file `data`.", code="data", field="data")
    part = upload_part_add(
        acting_user=request.user,
        upload=upload,
        data=data,
        sha256=request.POST.get("sha256", ""),
    )
    return JsonResponse(_part(part))


@require_POST
@refusals_as_json
def complete(request: MemberRequest, upload_id: str) -> HttpResponse:
    upload = access_upload(request.user, upload_id, need="write")
    given = body(request)
    part_ids = given.get("part_ids")
    if not isinstance(part_ids, list) or not all(isinstance(each, str) for each in part_ids):
        raise UserError("`part_ids` must be a list of ids.", code="part_ids", field="part_ids")
    upload = upload_complete(
        acting_user=request.user, upload=upload, part_ids=part_ids, md5=text_of(given, "md5")
    )
    return JsonResponse(shown(upload))


@require_POST
@refusals_as_json
def cancel(request: MemberRequest, upload_id: str) -> HttpResponse:
    upload = access_upload(request.user, upload_id, need="write")
    return JsonResponse(shown(upload_cancel(acting_user=request.user, upload=upload)))


def shown(upload: Upload) -> dict[str, Any]:
    """The contract's upload object."""
    return {
        "id": upload.pk,
        "object": "upload",
        "bytes": upload.bytes,
        "created_at": int(upload.created_at.timestamp()),
        "expires_at": int(upload.expires_at.timestamp()),
        "filename": upload.filename,
        "purpose": upload.purpose,
        "status": upload.status,
    }


def _part(part: UploadPart) -> dict[str, Any]:
    return {
        "id": part.pk,
        "object": "upload.part",
        "created_at": int(part.created_at.timestamp()),
        "upload_id": part.upload_id,
        "bytes": part.bytes,
        "sha256": part.sha256,
    }


def body(request: MemberRequest) -> dict[str, Any]:
    """The JSON object that was sent."""
    try:
        given = json.loads(request.body)
    except (ValueError, RecursionError) as error:
        raise UserError("The body is not JSON.", code="json") from error
    if not isinstance(given, dict):
        raise UserError("The body must be a JSON object.", code="json")
    return given


def text_of(given: dict[str, Any], key: str) -> str:
    """A text of the object, or an empty one where it has none."""
    value = given.get(key)
    if value is not None and not isinstance(value, str):
        raise UserError(f"`{key}` must be a text.", code=key, field=key)
    return value or ""


def _error(error: UserError) -> dict[str, str | None]:
    return {
        "message": error.message,
        "type": "invalid_request_error",
        "param": error.field or None,
        "code": error.code,
    }
