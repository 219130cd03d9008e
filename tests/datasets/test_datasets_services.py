"""Datasets and their versions: what is stored, who may, and that a refusal leaves nothing."""

from __future__ import annotations

import errno
import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.core.files.base import ContentFile, File
from django.core.files.storage import FileSystemStorage, default_storage
from django.core.files.uploadedfile import TemporaryUploadedFile
from django.db import connection, transaction
from django.http import Http404
from pytest_django.fixtures import Settings

from hone.accounts.models import AuditEntry, Organisation, User
from hone.core.errors import UserError
from hone.datasets.errors import DatasetRefused, DiskFull
from hone.datasets.models import Dataset, DatasetVersion
from hone.datasets.selectors import (
    access_dataset,
    access_dataset_version,
    dataset_list,
    dataset_local_path,
    dataset_rows,
    dataset_split,
    latest_version,
)
from hone.datasets.services import (
    dataset_archive,
    dataset_create,
    dataset_delete,
    dataset_version_add,
    uploads_tidy,
)
from tests import gsm8k


def _row(number: int) -> bytes:
    row = {"messages": [{"role": "user", "content": f"Question {number} ü"}], "answer": number}
    return json.dumps(row, ensure_ascii=number % 2 == 0).encode()


def _upload(rows: int = 10, *, start: int = 0, end: bytes = b"\n") -> File[bytes]:
    return ContentFile(end.join(_row(start + number) for number in range(rows)) + end)


def _files() -> list[Path]:
    folders = (Path(settings.MEDIA_ROOT) / "datasets", Path(settings.FILE_UPLOAD_TEMP_DIR))
    return [path for folder in folders for path in folder.rglob("*")]


@pytest.fixture(autouse=True)
def _own_storage(settings: Settings, tmp_path: Path) -> None:
    settings.MEDIA_ROOT = tmp_path / "files"
    settings.FILE_UPLOAD_TEMP_DIR = tmp_path / "incoming"
    settings.FILE_UPLOAD_TEMP_DIR.mkdir()


@pytest.fixture
def version(bob: User, organisation: Organisation) -> DatasetVersion:
    return dataset_create(
        acting_user=bob, organisation=organisation, name="Orders", upload=_upload(25)
    )


def test_a_dataset_begins_with_version_one(version: DatasetVersion, bob: User) -> None:
    stored = DatasetVersion.objects.get()
    assert (stored.number, stored.rows, stored.dataset.name) == (1, 25, "Orders")
    assert stored.created_by == stored.dataset.created_by == bob
    assert stored.report["keys"] == {"messages": 25, "answer": 25}
    with default_storage.open(stored.storage_key) as file:
        assert file.read() == _upload(25).read()
    assert stored.bytes == len(_upload(25).read())
    assert len(_files()) == 3
    entry = AuditEntry.objects.get(action="dataset.version")
    assert entry.detail == {"name": "Orders", "number": 1, "rows": 25}


def test_rows_are_found_by_place(version: DatasetVersion) -> None:
    assert list(dataset_rows(version, 0, 1)) == [json.loads(_row(0))]
    assert list(dataset_rows(version, 23, 10)) == [json.loads(_row(23)), json.loads(_row(24))]
    assert list(dataset_rows(version, 7, 3)) == [json.loads(_row(number)) for number in (7, 8, 9)]
    for start, count in ((25, 5), (-1, 5), (3, 0), (10**12, 1)):
        assert list(dataset_rows(version, start, count)) == []


def test_rows_are_found_between_empty_lines_and_windows_line_breaks(
    bob: User, organisation: Organisation
) -> None:
    version = dataset_create(
        acting_user=bob, organisation=organisation, name="W", upload=_upload(10, end=b"\r\n \r\n")
    )
    assert list(dataset_rows(version, 0, 10)) == [json.loads(_row(number)) for number in range(10)]


def test_versions_are_numbered_and_never_change(version: DatasetVersion, bob: User) -> None:
    dataset = version.dataset
    for number in (2, 3):
        added = dataset_version_add(
            acting_user=bob, dataset=dataset, upload=_upload(start=number * 100)
        )
        assert added.number == number
    assert latest_version(dataset).number == 3
    assert list(dataset_rows(version, 0, 1)) == [json.loads(_row(0))]
    with pytest.raises(ValueError, match="never changed"):
        version.save()


def test_the_same_file_is_refused_by_the_name_of_its_version(
    version: DatasetVersion, bob: User
) -> None:
    before = _files()
    with pytest.raises(UserError) as caught:
        dataset_version_add(acting_user=bob, dataset=version.dataset, upload=_upload(25))
    assert caught.value.message == "This file is version 1 of Orders already. Nothing to add."
    assert (caught.value.code, caught.value.field) == ("dataset_same", "upload")
    assert _files() == before


def test_a_bad_file_leaves_nothing(bob: User, organisation: Organisation) -> None:
    bad = ContentFile(_upload(50).read() + b'{"messages":[]}\n')
    with pytest.raises(DatasetRefused) as caught:
        dataset_create(acting_user=bob, organisation=organisation, name="Bad", upload=bad)
    assert [(problem.line, problem.field) for problem in caught.value.problems] == [
        (51, "messages")
    ]
    assert not Dataset.objects.exists()
    assert not AuditEntry.objects.filter(action__startswith="dataset").exists()
    assert _files() == []


def test_the_limits_are_the_operators(
    bob: User, organisation: Organisation, settings: Settings
) -> None:
    settings.MAX_DATASET_ROWS = 12
    for rows, code in ((12, ""), (13, "too_many_rows")):
        try:
            dataset_create(
                acting_user=bob, organisation=organisation, name=f"{rows}", upload=_upload(rows)
            )
            found = ""
        except DatasetRefused as error:
            found = error.code
        assert found == code
    settings.MAX_DATASET_BYTES = 100
    with pytest.raises(DatasetRefused, match="HONE_MAX_DATASET_BYTES"):
        dataset_create(acting_user=bob, organisation=organisation, name="B", upload=_upload(11))


def _arrived(name: str = "tasks.jsonl", rows: int = 10) -> TemporaryUploadedFile:
    """A large upload, as Django hands it on: a file in the folder of what arrives."""
    upload = TemporaryUploadedFile(name, "application/jsonl", 0, None)
    upload.write(_upload(rows).read())
    upload.seek(0)
    return upload


def test_a_large_upload_is_moved_into_storage_and_not_copied(
    bob: User, organisation: Organisation
) -> None:
    with _arrived() as upload:
        (arrived,) = _files()
        inode = arrived.stat().st_ino
        version = dataset_create(
            acting_user=bob, organisation=organisation, name="L", upload=upload
        )
        assert not arrived.exists()
    assert Path(default_storage.path(version.storage_key)).stat().st_ino == inode
    assert list(dataset_rows(version, 0, 10)) == [json.loads(_row(number)) for number in range(10)]


def test_a_large_upload_that_is_refused_leaves_when_the_request_ends(
    bob: User, organisation: Organisation
) -> None:
    with _arrived(rows=9) as upload, pytest.raises(DatasetRefused, match="has 9 rows"):
        dataset_create(acting_user=bob, organisation=organisation, name="L", upload=upload)
    assert _files() == []


@pytest.mark.parametrize("name", ["tasks.csv", "tasks.jsonl.gz", "jsonl"])
def test_a_file_with_another_ending_is_refused_by_its_name(
    bob: User, organisation: Organisation, name: str
) -> None:
    with _arrived(name) as upload, pytest.raises(UserError) as caught:
        dataset_create(acting_user=bob, organisation=organisation, name="L", upload=upload)
    assert caught.value.message == (
        f"The file is called {name!r}, and a dataset's name ends with .jsonl. Write one JSON "
        "object a line, or rename the file if it is so already."
    )
    assert (caught.value.code, caught.value.field) == ("file_name", "upload")
    assert _files() == []


def test_the_ending_may_be_written_large(bob: User, organisation: Organisation) -> None:
    with _arrived("TASKS.JSONL") as upload:
        dataset_create(acting_user=bob, organisation=organisation, name="L", upload=upload)
    assert DatasetVersion.objects.count() == 1


def test_what_killed_uploads_left_is_removed_after_a_day() -> None:
    old, fresh = (settings.FILE_UPLOAD_TEMP_DIR / name for name in ("old", "fresh"))
    for path, hours in ((old, 24.1), (fresh, 23.9)):
        path.write_bytes(b"half a fi")
        written = time.time() - hours * 3600
        os.utime(path, (written, written))
    assert (uploads_tidy(), uploads_tidy()) == (1, 0)
    assert _files() == [fresh]


@pytest.mark.parametrize(
    ("name", "code"),
    [(" ", "blank"), ("x" * 101, "too_long"), ("a\nb", "lines"), ("a\x00", "nul"), ("\ud800", "")],
)
def test_a_name_that_cannot_be_kept_is_refused(
    bob: User, organisation: Organisation, name: str, code: str
) -> None:
    with pytest.raises(UserError) as caught:
        dataset_create(acting_user=bob, organisation=organisation, name=name, upload=_upload())
    assert (caught.value.code, caught.value.field) == (code or "surrogate", "name")
    assert _files() == []


def test_a_name_is_used_once_until_it_is_archived(
    version: DatasetVersion, bob: User, organisation: Organisation
) -> None:
    def again() -> DatasetVersion:
        return dataset_create(
            acting_user=bob, organisation=organisation, name=" Orders ", upload=_upload()
        )

    with pytest.raises(UserError, match="A dataset is called 'Orders' already") as caught:
        again()
    assert (caught.value.code, caught.value.field) == ("name_taken", "name")
    dataset_archive(acting_user=bob, dataset=version.dataset)
    assert list(dataset_list(organisation)) == []
    assert list(dataset_list(again().organisation)) == [Dataset.objects.get(archived=False)]


def test_an_archived_dataset_keeps_its_rows_and_takes_no_more(
    version: DatasetVersion, bob: User
) -> None:
    dataset_archive(acting_user=bob, dataset=version.dataset)
    dataset_archive(acting_user=bob, dataset=version.dataset)
    assert AuditEntry.objects.filter(action="dataset.archive").count() == 1
    assert len(list(dataset_rows(version, 0, 25))) == 25
    with pytest.raises(UserError, match="Orders is archived"):
        dataset_version_add(
            acting_user=bob,
            dataset=Dataset.objects.get(),
            upload=_upload(start=99),
        )


@pytest.mark.django_db(transaction=True)
def test_a_deleted_dataset_takes_its_bytes_along(
    version: DatasetVersion, alice: User, bob: User
) -> None:
    with pytest.raises(PermissionDenied):
        dataset_delete(acting_user=bob, dataset=version.dataset)
    dataset_delete(acting_user=alice, dataset=version.dataset)
    assert not Dataset.objects.exists()
    assert _files() == []
    with pytest.raises(Http404):
        dataset_delete(acting_user=alice, dataset=version.dataset)
    assert AuditEntry.objects.filter(action="dataset.delete").count() == 1


@pytest.mark.django_db(transaction=True)
def test_a_delete_that_is_rolled_back_keeps_the_bytes(version: DatasetVersion, alice: User) -> None:
    def undone() -> None:
        with transaction.atomic():
            dataset_delete(acting_user=alice, dataset=version.dataset)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        undone()
    assert len(list(dataset_rows(DatasetVersion.objects.get(), 0, 25))) == 25


def test_a_viewer_reads_and_may_not_write(version: DatasetVersion, dora: User) -> None:
    dataset = version.dataset
    assert access_dataset(dora, dataset.pk) == dataset
    assert access_dataset_version(dora, dataset.pk, 1) == version
    for refused in (
        lambda: dataset_create(
            acting_user=dora, organisation=dataset.organisation, name="D", upload=_upload()
        ),
        lambda: dataset_version_add(acting_user=dora, dataset=dataset, upload=_upload()),
        lambda: dataset_archive(acting_user=dora, dataset=dataset),
        lambda: dataset_delete(acting_user=dora, dataset=dataset),
    ):
        with pytest.raises(PermissionDenied):
            refused()
    assert DatasetVersion.objects.count() == 1


def test_for_others_a_dataset_is_not_there(version: DatasetVersion, charlie: User) -> None:
    dataset = version.dataset
    for refused in (
        lambda: access_dataset(charlie, dataset.pk),
        lambda: access_dataset(charlie, "ds-none"),
        lambda: access_dataset_version(charlie, dataset.pk, 1),
        lambda: dataset_create(
            acting_user=charlie, organisation=dataset.organisation, name="C", upload=_upload()
        ),
        lambda: dataset_version_add(acting_user=charlie, dataset=dataset, upload=_upload()),
        lambda: dataset_archive(acting_user=charlie, dataset=dataset),
        lambda: dataset_delete(acting_user=charlie, dataset=dataset),
    ):
        with pytest.raises(Http404, match=r"^There is nothing here that you can see\.$"):
            refused()


def test_a_version_that_is_not_there_is_a_404(version: DatasetVersion, bob: User) -> None:
    for number in (0, 2, 2**40):
        with pytest.raises(Http404):
            access_dataset_version(bob, version.dataset_id, number)


class FullDisk(FileSystemStorage):
    """A storage whose disk fills up after so many bytes and keeps half a file."""

    room = 0

    def _save(self, name: str, content: File[Any]) -> str:
        whole = content.read()
        if len(whole) > self.room:
            super()._save(name, ContentFile(whole[: self.room]))
            raise OSError(errno.ENOSPC, "No space left on device")
        return super()._save(name, ContentFile(whole))


@pytest.mark.parametrize("room", [0, 100, 700])
def test_a_full_disk_is_named_and_leaves_nothing(
    bob: User, organisation: Organisation, settings: Settings, monkeypatch: Any, room: int
) -> None:
    monkeypatch.setattr(FullDisk, "room", room)
    settings.STORAGES = {
        **settings.STORAGES,
        "default": {"BACKEND": f"{__name__}.FullDisk"},
    }
    with pytest.raises(DiskFull) as caught:
        dataset_create(acting_user=bob, organisation=organisation, name="F", upload=_upload(30))
    assert caught.value.message == (
        "The disk is full, so the file was not kept. Ask the operator to free some space, then "
        "upload it again."
    )
    assert caught.value.code == "disk_full"
    assert not Dataset.objects.exists()
    assert _files() == []


class ElsewhereStorage(FileSystemStorage):
    """A storage without local paths, as an object store is."""

    def path(self, name: str) -> str:
        raise NotImplementedError

    def _local(self) -> FileSystemStorage:
        return FileSystemStorage(location=self.location)

    def _open(self, name: str, mode: str = "rb") -> File[bytes]:
        return self._local().open(name, mode)


def test_a_file_that_is_elsewhere_is_fetched_once(
    version: DatasetVersion, settings: Settings, tmp_path: Path
) -> None:
    assert dataset_local_path(version) == Path(default_storage.path(version.storage_key))
    settings.DATA_DIR = tmp_path / "data"
    settings.STORAGES = {
        **settings.STORAGES,
        "default": {"BACKEND": f"{__name__}.ElsewhereStorage"},
    }
    path = dataset_local_path(version)
    assert path.read_bytes() == _upload(25).read()
    path.write_bytes(b"kept")
    assert dataset_local_path(version).read_bytes() == b"kept"
    assert [found.name for found in path.parent.iterdir()] == [f"{version.sha256}.jsonl"]


@pytest.mark.django_db(transaction=True)
def test_uploads_at_the_same_time_get_numbers_of_their_own(
    version: DatasetVersion, bob: User
) -> None:
    ready = threading.Barrier(6)
    failed: list[BaseException] = []

    def add(number: int) -> None:
        ready.wait()
        try:
            dataset_version_add(
                acting_user=bob, dataset=version.dataset, upload=_upload(start=number * 1000)
            )
        except UserError as error:
            failed.append(error)
        finally:
            connection.close()

    # The first two bring the same file: one of them is refused.
    threads = [threading.Thread(target=add, args=(max(1, n),)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [getattr(error, "code", "") for error in failed] == ["dataset_same"]
    assert sorted(version.dataset.versions.values_list("number", flat=True)) == [1, 2, 3, 4, 5, 6]
    assert len([path for path in _files() if path.is_file()]) == 12


def test_a_split_is_seeded_disjoint_and_complete(version: DatasetVersion) -> None:
    training, validation = dataset_split(version, 0.2, 1)
    assert (len(training), len(validation)) == (20, 5)
    assert sorted(training + validation) == list(range(25))
    assert list(training) == sorted(training)
    assert dataset_split(version, 0.2, 1) == (training, validation)
    assert dataset_split(version, 0.2, 2) != (training, validation)


@pytest.mark.parametrize(("share", "held"), [(0.001, 1), (0.5, 12), (0.999, 24)])
def test_both_sides_of_a_split_have_a_row(version: DatasetVersion, share: float, held: int) -> None:
    training, validation = dataset_split(version, share, 7)
    assert (len(training), len(validation)) == (25 - held, held)


@pytest.mark.parametrize("share", [0, 1, -0.1, 1.5, float("nan")])
def test_a_share_that_is_none_is_refused(version: DatasetVersion, share: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        dataset_split(version, share, 1)


@gsm8k.needed
def test_real_questions_are_stored_and_found_again(bob: User, organisation: Organisation) -> None:
    questions = [json.loads(line) for line in gsm8k.FILE.read_text("utf-8").splitlines()]
    rows = [
        {
            "messages": [{"role": "user", "content": question["question"]}],
            "answer": question["answer"].rpartition("#### ")[2],
        }
        for question in questions
    ]
    upload = ContentFile("\n".join(map(json.dumps, rows)).encode())
    version = dataset_create(
        acting_user=bob, organisation=organisation, name="GSM8K", upload=upload
    )
    assert version.rows == len(rows)
    assert list(dataset_rows(version, 0, version.rows)) == rows


class BrokenUpload(ContentFile):
    """An upload during which the disk fills up."""

    def chunks(self, chunk_size: int | None = None) -> Iterator[bytes]:
        yield _row(1) + b"\n"
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_disk_that_fills_up_while_the_file_arrives_is_named(
    bob: User, organisation: Organisation
) -> None:
    with pytest.raises(DiskFull):
        dataset_create(
            acting_user=bob, organisation=organisation, name="F", upload=BrokenUpload(b"")
        )
    assert not Dataset.objects.exists()
    assert _files() == []


@pytest.mark.django_db(transaction=True)
def test_of_two_datasets_of_one_name_at_the_same_time_one_is_made(
    bob: User, organisation: Organisation
) -> None:
    checked = threading.Barrier(4)
    failed: list[str] = []

    class SlowUpload(ContentFile):
        """An upload that is read once all have seen that the name is free."""

        def chunks(self, chunk_size: int | None = None) -> Iterator[bytes]:
            checked.wait()
            yield from super().chunks(chunk_size)

    def create(number: int) -> None:
        try:
            dataset_create(
                acting_user=bob,
                organisation=organisation,
                name="Orders",
                upload=SlowUpload(_upload(start=number).read()),
            )
        except UserError as error:
            failed.append(error.code)
        finally:
            connection.close()

    threads = [threading.Thread(target=create, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == ["name_taken"] * 3
    assert DatasetVersion.objects.count() == 1
    assert len([path for path in _files() if path.is_file()]) == 2
