"""Reading datasets: the access doors, lists, rows by place, and seeded splits."""

from __future__ import annotations

import json
import os
import sys
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django.core.files.storage import default_storage
from django.db.models import ManyToOneRel, QuerySet

from hone.accounts.models import Organisation, User
from hone.accounts.selectors import Need, access_row
from hone.datasets.models import Dataset, DatasetVersion, Intake, Upload
from hone.datasets.splits import split_by_row

OFFSET_BYTES = 8
MOST_LISTED = 20
MOST_BESIDE = 200
MOST_BYTES_SEARCHED = 64 * 1024 * 1024
BLANK = b" \t\r\n"


@dataclass(frozen=True)
class Users:
    """How many jobs point at a dataset's versions."""

    open: int
    finished: int


@dataclass(frozen=True)
class RowHead:
    """The beginning of a row as it stands in the file; `size` is the whole row's, in bytes."""

    number: int
    text: bytes
    size: int


@dataclass(frozen=True)
class Found:
    """Rows that a search found, counted from zero; `next` is the first that was not looked at."""

    rows: tuple[int, ...]
    next: int | None
    looked_to: int


def access_dataset(
    user: User | AnonymousUser, dataset_id: object, *, need: Need = "read"
) -> Dataset:
    """The dataset, if the user may; a foreign id and an absent one are the same 404."""
    return access_row(Dataset.objects.all(), user, dataset_id, need=need)


def access_dataset_version(
    user: User | AnonymousUser, dataset_id: object, number: int, *, need: Need = "read"
) -> DatasetVersion:
    """Version `number` of the dataset, if the user may."""
    dataset = access_dataset(user, dataset_id, need=need)
    rows: QuerySet[DatasetVersion] = dataset.versions.select_related("dataset")
    found = rows.filter(number=number).first()
    return found if found is not None else access_row(rows.none(), user, dataset_id)


def access_version(
    user: User | AnonymousUser, version_id: object, *, need: Need = "read"
) -> DatasetVersion:
    """The version with that id, if the user may."""
    found = DatasetVersion.objects.select_related("dataset").filter(pk=str(version_id)[:40])
    version = found.first()
    access_dataset(user, version.dataset_id if version else "", need=need)
    return found.get()


def access_upload(user: User | AnonymousUser, upload_id: object, *, need: Need = "read") -> Upload:
    """The upload, if the user may."""
    return access_row(Upload.objects.all(), user, upload_id, need=need)


def access_intake(user: User | AnonymousUser, intake_id: object, *, need: Need = "read") -> Intake:
    """The file on its way to a version, if the user may."""
    rows = Intake.objects.select_related("dataset", "upload", "version__dataset", "created_by")
    return access_row(rows, user, intake_id, need=need)


def intakes_listed(organisation: Organisation) -> list[Intake]:
    """Files that are on their way, and those refused of late; the newest first."""
    rows = Intake.objects.filter(organisation=organisation).exclude(state="stored")
    return list(rows.order_by("-created_at")[:MOST_LISTED])


def same_bytes(version: DatasetVersion) -> list[DatasetVersion]:
    """Other versions in the organisation that are the same file."""
    same = DatasetVersion.objects.filter(
        sha256=version.sha256, dataset__organisation=version.dataset.organisation
    )
    return list(same.exclude(pk=version.pk).select_related("dataset")[:MOST_LISTED])


def dataset_list(organisation: Organisation) -> QuerySet[Dataset]:
    """Datasets that are not archived, with their versions fetched."""
    rows = Dataset.objects.filter(organisation=organisation, archived=False)
    return rows.prefetch_related("versions").order_by("name", "id")


def dataset_search(organisation: Organisation, text: str, limit: int) -> list[Dataset]:
    """Datasets whose name holds the text, archived ones last."""
    rows = Dataset.objects.filter(organisation=organisation, name__icontains=text)
    return list(rows.order_by("archived", "name", "id")[:limit])


def dataset_users(dataset: Dataset) -> Users:
    """The jobs that use the dataset.

    Jobs are a layer above this one, so they are found as Django finds them when it deletes a
    version: by the foreign keys that point here.
    """
    finished: dict[str, bool] = {}
    for key in DatasetVersion._meta.get_fields(include_hidden=True):
        if isinstance(key, ManyToOneRel) and key.related_model is not Intake:
            jobs = key.related_model._default_manager.filter(
                **{f"{key.field.name}__dataset": dataset}
            )
            finished |= {pk: at is not None for pk, at in jobs.values_list("pk", "finished_at")}
    ended = sum(finished.values())
    return Users(open=len(finished) - ended, finished=ended)


def latest_version(dataset: Dataset) -> DatasetVersion:
    """The newest version; every dataset has one."""
    return dataset.versions.order_by("-number")[0]


def dataset_rows(version: DatasetVersion, start: int, count: int) -> Iterator[dict[str, Any]]:
    """Up to `count` rows from row `start`, one at a time; the rest of the file is not read."""
    offsets = _offsets(version, start, count)
    if not offsets:
        return
    with default_storage.open(version.storage_key) as file:
        for offset in offsets:
            file.seek(offset)
            yield json.loads(file.readline())


def dataset_heads(
    version: DatasetVersion, start: int, count: int, most_bytes: int
) -> Iterator[RowHead]:
    """The same rows as text, at most so many bytes of each: a page never reads a giant whole."""
    offsets = _offsets(version, start, count + 1)
    ends = [*offsets[1:], version.bytes][:count]
    with default_storage.open(version.storage_key) as file:
        for number, (offset, end) in enumerate(zip(offsets, ends, strict=False), start + 1):
            file.seek(offset)
            text, line_break, _ = file.read(min(end - offset, most_bytes)).partition(b"\n")
            whole = line_break or len(text) == end - offset
            yield RowHead(number, text, len(text) if whole else end - offset)


def rows_found(version: DatasetVersion, words: str, *, start: int, most: int) -> Found:
    """Rows from row `start` on that hold all the words, in any case, anywhere in their JSON.

    Ends after so many rows, or after so many bytes: `next` is where to go on then.
    """
    needles = [_needles(word) for word in words.lower().split()]
    rows: list[int] = []
    read, row = 0, start
    offsets = _offsets(version, start, 1)
    if not offsets or not needles:
        return Found((), None, version.rows)
    with default_storage.open(version.storage_key) as file:
        file.seek(offsets[0])
        while row < version.rows:
            line = file.readline()
            read += len(line)
            if not line.strip(BLANK):
                continue
            lowered = line.lower()
            if all(any(form in lowered for form in forms) for forms in needles):
                rows.append(row)
            row += 1
            if len(rows) >= most or read > MOST_BYTES_SEARCHED:
                break
    return Found(tuple(rows), row if row < version.rows else None, row)


def _needles(word: str) -> set[bytes]:
    """The word as it is, and the ways in which JSON may write it inside a text."""
    written = {word, json.dumps(word, ensure_ascii=False)[1:-1], json.dumps(word)[1:-1].lower()}
    return {each.encode("utf-8", "ignore") for each in written}


def _offsets(version: DatasetVersion, start: int, count: int) -> list[int]:
    """Where up to `count` rows begin in the file, from row `start`."""
    count = min(count, version.rows - start)
    if start < 0 or count <= 0:
        return []
    with default_storage.open(version.offsets_key) as index:
        index.seek(start * OFFSET_BYTES)
        offsets = array("Q", index.read(count * OFFSET_BYTES))
    if sys.byteorder == "big":
        offsets.byteswap()
    return offsets.tolist()


def dataset_local_path(version: DatasetVersion) -> Path:
    """The version's file on this machine; fetched first where storage is elsewhere."""
    try:
        return Path(default_storage.path(version.storage_key))
    except NotImplementedError:
        return _fetched(version)


def _fetched(version: DatasetVersion) -> Path:
    target = Path(settings.DATA_DIR) / "fetched" / f"{version.sha256}.jsonl"
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_suffix(f".{version.pk}-{os.getpid()}")
        with default_storage.open(version.storage_key) as source, partial.open("wb") as out:
            for chunk in source.chunks():
                out.write(chunk)
        partial.replace(target)
    return target


def dataset_split(
    version: DatasetVersion, share: float, seed: int
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Rows for training and for validation: the same share and seed, the same rows, in order."""
    return split_by_row(version.rows, share, seed)


def versions_beside(version: DatasetVersion) -> list[DatasetVersion]:
    """The newest versions of other datasets, and the other versions of this one."""
    rows = DatasetVersion.objects.select_related("dataset").filter(
        dataset__organisation=version.dataset.organisation, dataset__archived=False
    )
    return list(rows.exclude(pk=version.pk).order_by("-created_at")[:MOST_BESIDE])
