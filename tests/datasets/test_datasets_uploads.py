"""A file arrives in parts, in any order and more than once, and is whole or gone."""

from __future__ import annotations

import errno
import hashlib
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.http import Http404
from django.utils import timezone
from pytest_django.fixtures import Settings

from hone.accounts.models import Organisation, User
from hone.core.errors import UserError
from hone.datasets.errors import DiskFull
from hone.datasets.models import Upload, UploadPart, UploadStatus
from hone.datasets.services.uploads import (
    MOST_OPEN,
    upload_cancel,
    upload_chunks,
    upload_complete,
    upload_create,
    upload_part_add,
    uploads_expire,
)


@pytest.fixture(autouse=True)
def _own_storage(settings: Settings, tmp_path: Path) -> None:
    settings.MEDIA_ROOT = tmp_path / "files"


def _files() -> list[Path]:
    return [path for path in (Path(settings.MEDIA_ROOT) / "uploads").rglob("*") if path.is_file()]


@pytest.fixture
def create(bob: User, organisation: Organisation) -> Any:
    def made(size: int = 6, **fields: Any) -> Upload:
        given = {"acting_user": bob, "filename": "a.jsonl", "size": size, **fields}
        return upload_create(organisation=organisation, **given)

    return made


@pytest.fixture
def add(bob: User) -> Any:
    def added(upload: Upload, data: bytes, **fields: Any) -> UploadPart:
        return upload_part_add(acting_user=bob, upload=upload, data=ContentFile(data), **fields)

    return added


def _refusal(work: Any, *args: Any, **fields: Any) -> UserError:
    with pytest.raises(UserError) as caught:
        work(*args, **fields)
    return caught.value


def test_parts_are_put_together_in_the_order_that_is_given(
    create: Any, add: Any, bob: User
) -> None:
    upload = create(size=6)
    second, first = add(upload, b"def"), add(upload, b"abc")
    done = upload_complete(acting_user=bob, upload=upload, part_ids=[first.pk, second.pk])
    assert (done.status, b"".join(upload_chunks(done))) == (UploadStatus.COMPLETED, b"abcdef")
    again = upload_complete(acting_user=bob, upload=upload, part_ids=[first.pk, second.pk])
    assert again.status == UploadStatus.COMPLETED
    assert "completed" in _refusal(add, done, b"x").message


def test_the_same_bytes_again_are_the_same_part_and_may_stand_twice(
    create: Any, add: Any, bob: User
) -> None:
    upload = create(size=6)
    part = add(upload, b"abc")
    assert add(upload, b"abc") == part
    assert (part.sha256, len(_files())) == (hashlib.sha256(b"abc").hexdigest(), 1)
    done = upload_complete(acting_user=bob, upload=upload, part_ids=[part.pk, part.pk])
    assert b"".join(upload_chunks(done)) == b"abcabc"


def test_the_bytes_must_be_as_many_as_were_announced(create: Any, add: Any, bob: User) -> None:
    upload = create(size=6)
    part = add(upload, b"abc")
    error = _refusal(upload_complete, acting_user=bob, upload=upload, part_ids=[part.pk])
    assert error.message == (
        "The parts have 3 bytes and 6 were announced. Send what is missing, or begin again with "
        "the right number."
    )
    assert _refusal(add, upload, b"defg").message == (
        "With this part the upload has 7 bytes; 6 were announced."
    )
    error = _refusal(upload_complete, acting_user=bob, upload=upload, part_ids=["part-0"])
    assert error.message == "The upload has no part 'part-0'. Send it first."
    upload.refresh_from_db()
    assert upload.status == UploadStatus.PENDING


def test_a_part_that_arrived_damaged_is_refused(create: Any, add: Any) -> None:
    upload = create()
    error = _refusal(add, upload, b"abc", sha256="0" * 64)
    assert error.message == "The part arrived damaged: its sha256 differs. Send it again."
    assert add(upload, b"abc", sha256=hashlib.sha256(b"abc").hexdigest().upper()).bytes == 3
    assert "from 1 to 67108864 fit" in _refusal(add, upload, b"").message


def test_an_md5_that_is_given_must_fit(create: Any, add: Any, bob: User) -> None:
    upload = create(size=3)
    ids = [add(upload, b"abc").pk]
    error = _refusal(upload_complete, acting_user=bob, upload=upload, part_ids=ids, md5="0" * 32)
    assert error.message == "The file's md5 differs from the one given. Upload it again."
    md5 = hashlib.md5(b"abc", usedforsecurity=False).hexdigest()
    assert upload_complete(acting_user=bob, upload=upload, part_ids=ids, md5=md5).order == ids


def test_what_is_cancelled_leaves_no_bytes(create: Any, add: Any, bob: User) -> None:
    upload = create()
    add(upload, b"abc")
    for _ in range(2):
        assert upload_cancel(acting_user=bob, upload=upload).status == UploadStatus.CANCELLED
    assert (_files(), UploadPart.objects.count()) == ([], 0)
    assert "cancelled" in _refusal(add, upload, b"def").message


def test_after_an_hour_an_upload_is_over(create: Any, add: Any) -> None:
    upload, other = create(), create()
    assert 3590 < (upload.expires_at - timezone.now()).total_seconds() <= 3600
    add(upload, b"abc")
    add(other, b"abc")
    Upload.objects.filter(pk=upload.pk).update(expires_at=timezone.now() - timedelta(seconds=1))
    upload.refresh_from_db()
    assert _refusal(add, upload, b"def").code == "expired"
    assert (uploads_expire(), uploads_expire()) == (1, 0)
    upload.refresh_from_db()
    assert (upload.status, len(_files())) == (UploadStatus.EXPIRED, 1)


def test_a_completed_upload_of_which_nothing_was_made_goes_after_a_day(
    create: Any, add: Any, bob: User
) -> None:
    upload = create(size=3)
    ids = [add(upload, b"abc").pk]
    upload_complete(acting_user=bob, upload=upload, part_ids=ids)
    uploads_expire()
    assert len(_files()) == 1
    Upload.objects.update(created_at=timezone.now() - timedelta(days=2))
    uploads_expire()
    assert _files() == []


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"size": 0}, "The file has 0 bytes; from 1 to"),
        ({"size": 10**12}, "raise HONE_MAX_DATASET_BYTES"),
        ({"purpose": "fun"}, "The purpose is 'fun'. Use fine-tune for a dataset."),
        ({"filename": " "}, "The filename is empty"),
    ],
)
def test_what_cannot_be_is_refused(create: Any, fields: Any, sentence: str) -> None:
    assert sentence in _refusal(create, **fields).message
    assert not Upload.objects.exists()


def test_open_uploads_are_bounded(create: Any) -> None:
    first = [create() for _ in range(MOST_OPEN)][0]
    assert "100 uploads are open already" in _refusal(create).message
    Upload.objects.filter(pk=first.pk).update(status=UploadStatus.CANCELLED)
    create()


def test_a_full_disk_keeps_no_part(create: Any, add: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: Any, **fields: Any) -> str:
        raise OSError(errno.ENOSPC, "No space left on device")

    upload = create()
    monkeypatch.setattr(default_storage, "save", full)
    with pytest.raises(DiskFull):
        add(upload, b"abc")
    assert not UploadPart.objects.exists()


def test_only_members_of_the_organisation_may(
    create: Any, dora: User, charlie: User, organisation: Organisation
) -> None:
    upload = create()
    for user, refusal in ((dora, PermissionDenied), (charlie, Http404)):
        with pytest.raises(refusal):
            upload_create(acting_user=user, organisation=organisation, filename="a", size=1)
        with pytest.raises(refusal):
            upload_part_add(acting_user=user, upload=upload, data=ContentFile(b"abc"))
        with pytest.raises(refusal):
            upload_complete(acting_user=user, upload=upload, part_ids=[])
        with pytest.raises(refusal):
            upload_cancel(acting_user=user, upload=upload)
