"""A file arrives in parts: created, sent, completed or cancelled (contract sections 2 and 7).

One protocol for the browser and for programs. Parts may come in any order and at the same time;
the same bytes sent again are the same part. Nothing here knows what the file will be.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from datetime import timedelta

from django.conf import settings
from django.core.files.base import File
from django.core.files.storage import default_storage
from django.db import IntegrityError, transaction
from django.db.models import Sum
from django.utils import timezone

from hone.accounts.models import Organisation, User
from hone.accounts.selectors import access_organisation
from hone.core import text
from hone.core.errors import UserError
from hone.datasets.models import Upload, UploadPart, UploadStatus
from hone.datasets.selectors import access_upload
from hone.datasets.services.versions import full_disk_named

LARGEST_PART: int = settings.LARGEST_UPLOAD_PART
LIFE_S = 3600
UNUSED_S = 24 * 3600
"""A completed upload of which nothing was made is kept so long."""
MOST_OPEN = 100
"""Pending uploads of an organisation at a time."""
CHUNK = 1 << 20
PURPOSES = ("assistants", "batch", "fine-tune", "vision", "user_data", "evals")


def upload_create(
    *,
    acting_user: User,
    organisation: Organisation,
    filename: str,
    size: int,
    purpose: str = "fine-tune",
    mime_type: str = "",
) -> Upload:
    """A pending upload of `size` bytes; it ends in an hour if it is not completed."""
    access_organisation(acting_user, organisation.id, need="write")
    filename = text.name(filename, field="filename", longest=300)
    mime_type = text.storable(mime_type, field="mime_type")[:200]
    if purpose not in PURPOSES:
        raise _refusal("purpose", f"The purpose is {purpose[:80]!r}. Use fine-tune for a dataset.")
    if not 0 < size <= settings.MAX_DATASET_BYTES:
        most = settings.MAX_DATASET_BYTES
        raise _refusal(
            "bytes",
            f"The file has {size} bytes; from 1 to {most} ({most // 2**20} MB) are taken here. "
            "Upload a smaller one, or ask the operator to raise HONE_MAX_DATASET_BYTES.",
        )
    pending = Upload.objects.filter(organisation=organisation, status=UploadStatus.PENDING)
    if pending.count() >= MOST_OPEN:
        raise _refusal(
            "", f"{MOST_OPEN} uploads are open already. Complete or cancel one of them first."
        )
    return Upload.objects.create(
        organisation=organisation,
        filename=filename,
        mime_type=mime_type,
        purpose=purpose,
        bytes=size,
        created_by=acting_user,
        expires_at=timezone.now() + timedelta(seconds=LIFE_S),
    )


def upload_part_add(
    *,
    acting_user: User,
    upload: Upload,
    data: File[bytes],
    sha256: str = "",
    most: int = LARGEST_PART,
) -> UploadPart:
    """Keep a part. `sha256`, where it is given, must be that of the bytes that arrived."""
    access_upload(acting_user, upload.pk, need="write")
    _refuse_closed(upload)
    if not 0 < data.size <= most:
        raise _refusal("data", f"The part has {data.size} bytes; from 1 to {most} fit.")
    found = _hash(data)
    if sha256 and sha256.lower() != found:
        raise _refusal("sha256", "The part arrived damaged: its sha256 differs. Send it again.")
    part = upload.parts.filter(sha256=found).first()
    if part is not None:
        return part
    _refuse_overfull(upload, data.size)
    part = UploadPart(upload=upload, sha256=found, bytes=data.size)
    data.seek(0)
    try:
        with full_disk_named():
            default_storage.save(part.storage_key, data)
        return _part_saved(part)
    except BaseException:
        default_storage.delete(part.storage_key)
        raise


def upload_complete(
    *, acting_user: User, upload: Upload, part_ids: Sequence[str], md5: str = ""
) -> Upload:
    """The parts in this order are the file. They must have just as many bytes as announced."""
    access_upload(acting_user, upload.pk, need="write")
    if md5 and md5.lower() != _md5(_in_order(upload, part_ids)):
        raise _refusal("md5", "The file's md5 differs from the one given. Upload it again.")
    with transaction.atomic():
        locked = Upload.objects.select_for_update().get(pk=upload.pk)
        if locked.status == UploadStatus.COMPLETED and locked.order == list(part_ids):
            return locked
        _refuse_closed(locked)
        size = sum(part.bytes for part in _in_order(locked, part_ids))
        if size != locked.bytes:
            raise _refusal(
                "part_ids",
                f"The parts have {size} bytes and {locked.bytes} were announced. Send what is "
                "missing, or begin again with the right number.",
            )
        locked.order = list(part_ids)
        locked.status = UploadStatus.COMPLETED
        locked.save(update_fields=["order", "status"])
    return locked


def upload_cancel(*, acting_user: User, upload: Upload) -> Upload:
    """End a pending upload; its bytes are removed."""
    access_upload(acting_user, upload.pk, need="write")
    pending = Upload.objects.filter(pk=upload.pk, status=UploadStatus.PENDING)
    if not pending.update(status=UploadStatus.CANCELLED):
        upload.refresh_from_db()
        if upload.status != UploadStatus.CANCELLED:
            _refuse_closed(upload)
    upload_remove_bytes(upload)
    upload.status = UploadStatus.CANCELLED
    return upload


def uploads_expire() -> int:
    """End the uploads whose hour is over and that nobody completed; how many those were."""
    unused = Upload.objects.filter(
        status=UploadStatus.COMPLETED,
        intake__isnull=True,
        created_at__lt=timezone.now() - timedelta(seconds=UNUSED_S),
    )
    for upload in unused.filter(parts__isnull=False).distinct()[:MOST_OPEN]:
        upload_remove_bytes(upload)
    over = Upload.objects.filter(status=UploadStatus.PENDING, expires_at__lt=timezone.now())
    ended = 0
    for upload in over[:MOST_OPEN]:
        pending = Upload.objects.filter(pk=upload.pk, status=UploadStatus.PENDING)
        if pending.update(status=UploadStatus.EXPIRED):
            upload_remove_bytes(upload)
            ended += 1
    return ended


def upload_chunks(upload: Upload) -> Iterator[bytes]:
    """The bytes of a completed upload, one small piece at a time."""
    return _chunks(_in_order(upload, upload.order))


def upload_remove_bytes(upload: Upload) -> None:
    """Remove the parts; the upload's row stays and tells what became of it."""
    for part in upload.parts.all():
        default_storage.delete(part.storage_key)
    upload.parts.all().delete()
    default_storage.delete(upload.storage_folder)


def _part_saved(part: UploadPart) -> UploadPart:
    """The part's row; the same part sent twice at the same time is the one that was first."""
    try:
        with transaction.atomic():
            upload = Upload.objects.select_for_update().get(pk=part.upload_id)
            _refuse_closed(upload)
            _refuse_overfull(upload, part.bytes)
            part.save(force_insert=True)
    except IntegrityError:
        default_storage.delete(part.storage_key)
        return UploadPart.objects.get(upload=part.upload_id, sha256=part.sha256)
    return part


def _refuse_closed(upload: Upload) -> None:
    if upload.status == UploadStatus.PENDING and upload.expires_at < timezone.now():
        raise _refusal("", "The upload expired: an hour is over. Begin again.", "expired")
    if upload.status != UploadStatus.PENDING:
        text = f"The upload is {upload.status}, so nothing more can be done with it. Begin again."
        raise _refusal("", text, upload.status)


def _refuse_overfull(upload: Upload, size: int) -> None:
    held = upload.parts.aggregate(sum=Sum("bytes"))["sum"] or 0
    if held + size > upload.bytes:
        raise _refusal(
            "data",
            f"With this part the upload has {held + size} bytes; {upload.bytes} were announced.",
        )


def _hash(data: File[bytes]) -> str:
    data.seek(0)
    found = hashlib.sha256()
    for chunk in data.chunks(CHUNK):
        found.update(chunk)
    return found.hexdigest()


def _in_order(upload: Upload, part_ids: Sequence[str]) -> list[UploadPart]:
    known = {part.pk: part for part in upload.parts.all()}
    unknown = next((str(each) for each in part_ids if each not in known), None)
    if unknown is not None:
        raise _refusal("part_ids", f"The upload has no part {unknown[:80]!r}. Send it first.")
    return [known[each] for each in part_ids]


def _chunks(parts: Sequence[UploadPart]) -> Iterator[bytes]:
    for part in parts:
        with default_storage.open(part.storage_key) as file:
            while chunk := file.read(CHUNK):
                yield chunk


def _md5(parts: Sequence[UploadPart]) -> str:
    found = hashlib.md5(usedforsecurity=False)
    for chunk in _chunks(parts):
        found.update(chunk)
    return found.hexdigest()


def _refusal(field: str, message: str, code: str = "") -> UserError:
    return UserError(message, code=code or f"upload_{field or 'state'}", field=field)
