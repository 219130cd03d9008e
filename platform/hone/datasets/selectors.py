"""Reading datasets: the access doors, lists, rows by place, and seeded splits."""

from __future__ import annotations

import json
import os
import random
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
from hone.datasets.models import Dataset, DatasetVersion

OFFSET_BYTES = 8


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


def dataset_list(organisation: Organisation) -> QuerySet[Dataset]:
    """Datasets that are not archived, with their versions fetched."""
    rows = Dataset.objects.filter(organisation=organisation, archived=False)
    return rows.prefetch_related("versions").order_by("name", "id")


def dataset_users(dataset: Dataset) -> Users:
    """The jobs that use the dataset.

    Jobs are a layer above this one, so they are found as Django finds them when it deletes a
    version: by the foreign keys that point here.
    """
    finished: dict[str, bool] = {}
    for key in DatasetVersion._meta.get_fields(include_hidden=True):
        if isinstance(key, ManyToOneRel):
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
    if not 0 < share < 1:
        raise ValueError(f"share is {share}, and must lie between 0 and 1")
    order = list(range(version.rows))
    random.Random(f"split:{seed}").shuffle(order)
    held = min(max(1, round(share * version.rows)), version.rows - 1)
    return tuple(sorted(order[held:])), tuple(sorted(order[:held]))
