"""Datasets and their versions change. A file that is refused leaves nothing behind."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings
from django.core.files.base import File
from django.core.files.storage import default_storage
from django.db import IntegrityError, transaction
from django.db.models import Max

from hone.accounts.models import Organisation, User
from hone.accounts.selectors import access_organisation, access_row
from hone.accounts.services import audit_record
from hone.core import text
from hone.core.disk import is_disk_full
from hone.core.errors import UserError
from hone.datasets.errors import DiskFull
from hone.datasets.models import Dataset, DatasetVersion
from hone.datasets.reading import Reading, read_upload
from hone.datasets.selectors import access_dataset
from hone.datasets.services.bell import FIND, send

ABANDONED_S = 24 * 3600.0
"""No upload takes a day; a file that was not written to for so long belongs to nobody."""


@dataclass(frozen=True)
class ReadFile:
    """A file that was read and found sound."""

    reading: Reading
    file: File[bytes]


Settle = Callable[[DatasetVersion], None]
"""What else changes in the transaction in which a version appears; it may raise to stop it."""


def dataset_create(
    *, acting_user: User, organisation: Organisation, name: str, upload: File[bytes]
) -> DatasetVersion:
    """A new dataset with version 1. Raises DatasetRefused with lines and fields."""
    access_organisation(acting_user, organisation.id, need="write")
    name = text.name(name)
    refuse_taken(organisation, name)
    with full_disk_named():
        read = ReadFile(_read(upload), upload)
        return version_first(
            acting_user=acting_user, organisation=organisation, name=name, read=read
        )


def dataset_version_add(
    *, acting_user: User, dataset: Dataset, upload: File[bytes]
) -> DatasetVersion:
    """The next version; a file that is there already is refused by the name of its version."""
    access_dataset(acting_user, dataset.pk, need="write")
    with full_disk_named():
        read = ReadFile(_read(upload), upload)
        return version_next(acting_user=acting_user, dataset=dataset, read=read)


def version_first(
    *,
    acting_user: User,
    organisation: Organisation,
    name: str,
    read: ReadFile,
    settle: Settle | None = None,
) -> DatasetVersion:
    """The dataset and its version 1, from a file that was read."""
    dataset = Dataset(organisation=organisation, name=name, created_by=acting_user)
    version = _version_of(acting_user, dataset, read.reading, number=1)
    with _files_stored(version, read):
        try:
            with transaction.atomic():
                dataset.save(force_insert=True)
                _version_save(acting_user, version, settle)
        except IntegrityError as error:
            raise _taken(name) from error
    return version


def version_next(
    *, acting_user: User, dataset: Dataset, read: ReadFile, settle: Settle | None = None
) -> DatasetVersion:
    """The next version of the dataset, from a file that was read."""
    sha256 = read.reading.sha256
    refuse_same(dataset, sha256)
    version = _version_of(acting_user, dataset, read.reading, number=0)
    with _files_stored(version, read), transaction.atomic():
        version.dataset = access_row(
            Dataset.objects.select_for_update(), acting_user, dataset.pk, need="write"
        )
        refuse_same(version.dataset, sha256)
        version.number = version.dataset.versions.aggregate(newest=Max("number"))["newest"] + 1
        _version_save(acting_user, version, settle)
    return version


def dataset_archive(*, acting_user: User, dataset: Dataset) -> None:
    """Take the dataset off the lists; jobs that use its versions keep them."""
    access_dataset(acting_user, dataset.pk, need="write")
    with transaction.atomic():
        if not Dataset.objects.filter(pk=dataset.pk, archived=False).update(archived=True):
            return
        audit_record(
            acting_user=acting_user,
            organisation=dataset.organisation,
            action="dataset.archive",
            target=dataset.pk,
            detail={"name": dataset.name},
        )


def dataset_delete(*, acting_user: User, dataset: Dataset) -> None:
    """Remove the dataset and its bytes; a job that still needs it fails with a sentence."""
    with transaction.atomic():
        # Locked, so that no version comes between: its bytes would stay behind.
        rows = Dataset.objects.select_for_update()
        doomed = access_row(rows, acting_user, dataset.pk, need="admin")
        versions = list(doomed.versions.all())
        audit_record(
            acting_user=acting_user,
            organisation=doomed.organisation,
            action="dataset.delete",
            target=doomed.pk,
            detail={"name": doomed.name},
        )
        rows.filter(pk=doomed.pk).delete()
        transaction.on_commit(lambda: _delete_files(versions))


def uploads_tidy() -> int:
    """Remove what uploads that were killed left behind; how many files that were."""
    oldest = time.time() - ABANDONED_S
    removed = 0
    for path in Path(settings.FILE_UPLOAD_TEMP_DIR).iterdir():
        # A request that ends now takes its file away by itself.
        with suppress(FileNotFoundError):
            if path.is_file() and path.stat().st_mtime < oldest:
                path.unlink()
                removed += 1
    return removed


def _read(upload: File[bytes]) -> Reading:
    refuse_other_name(upload.name)
    return read_upload(
        upload.chunks(),
        most_rows=settings.MAX_DATASET_ROWS,
        most_bytes=settings.MAX_DATASET_BYTES,
        folder=Path(settings.FILE_UPLOAD_TEMP_DIR),
    )


@contextmanager
def full_disk_named() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if is_disk_full(error):
            raise DiskFull from error
        raise


def _version_of(
    acting_user: User, dataset: Dataset, reading: Reading, *, number: int
) -> DatasetVersion:
    return DatasetVersion(
        dataset=dataset,
        number=number,
        sha256=reading.sha256,
        bytes=reading.size,
        rows=reading.rows,
        report=reading.report,
        created_by=acting_user,
    )


def _version_save(acting_user: User, version: DatasetVersion, settle: Settle | None) -> None:
    version.save(force_insert=True)
    audit_record(
        acting_user=acting_user,
        organisation=version.dataset.organisation,
        action="dataset.version",
        target=version.pk,
        detail={
            "name": version.dataset.name,
            "number": version.number,
            "rows": version.rows,
        },
    )
    if settle is not None:
        settle(version)
    transaction.on_commit(lambda: send(FIND, version.pk))


@contextmanager
def _files_stored(version: DatasetVersion, read: ReadFile) -> Iterator[None]:
    """The version's files are in storage, and gone again where the block fails.

    Storage on this machine takes a large upload by renaming its file. Elsewhere it is copied, and
    before the transaction begins: a long copy must not hold up other writers.
    """
    read.file.seek(0)
    read.reading.index.seek(0)
    try:
        default_storage.save(version.storage_key, read.file)
        default_storage.save(version.offsets_key, File(read.reading.index))
        yield
    except BaseException:
        _delete_files([version])
        raise


def _delete_files(versions: Iterable[DatasetVersion]) -> None:
    for version in versions:
        keys = (version.storage_key, version.offsets_key, version.prints_key)
        for key in (*keys, version.storage_folder):
            default_storage.delete(key)


def refuse_other_name(name: str | None) -> None:
    """Files of programs may have no name; others end as the contract says."""
    if name and not name.lower().endswith(".jsonl"):
        raise UserError(
            f"The file is called {name!r}, and a dataset's name ends with .jsonl. Write one JSON "
            "object a line, or rename the file if it is so already.",
            code="file_name",
            field="upload",
        )


def refuse_same(dataset: Dataset, sha256: str) -> None:
    if dataset.archived:
        raise UserError(
            f"{dataset.name} is archived, so it takes no new version. Upload a new dataset.",
            code="archived",
            field="upload",
        )
    same = dataset.versions.filter(sha256=sha256).first()
    if same is not None:
        raise UserError(
            f"This file is version {same.number} of {dataset.name} already. Nothing to add.",
            code="dataset_same",
            field="upload",
        )


def refuse_taken(organisation: Organisation, name: str) -> None:
    if Dataset.objects.filter(organisation=organisation, name=name, archived=False).exists():
        raise _taken(name)


def _taken(name: str) -> UserError:
    return UserError(
        f"A dataset is called {name!r} already. Add a version to it, or use another name.",
        code="name_taken",
        field="name",
    )
