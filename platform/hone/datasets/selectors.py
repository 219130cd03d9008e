"""Reading datasets: the access doors, lists, rows by place, and seeded splits."""

from __future__ import annotations

import json
import os
import random
from array import array
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django.core.files.storage import default_storage
from django.db.models import QuerySet

from hone.accounts.models import Organisation, User
from hone.accounts.selectors import Need, access_row
from hone.datasets.models import Dataset, DatasetVersion

OFFSET_BYTES = 8


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


def latest_version(dataset: Dataset) -> DatasetVersion:
    """The newest version; every dataset has one."""
    return dataset.versions.order_by("-number")[0]


def dataset_rows(version: DatasetVersion, start: int, count: int) -> list[dict[str, Any]]:
    """Up to `count` rows from row `start`, found by offset: the rest of the file is not read."""
    count = min(count, version.rows - start)
    if start < 0 or count <= 0:
        return []
    with default_storage.open(version.offsets_key) as index:
        index.seek(start * OFFSET_BYTES)
        offsets = array("Q", index.read(count * OFFSET_BYTES))
    found = []
    with default_storage.open(version.storage_key) as file:
        for offset in offsets:
            file.seek(offset)
            found.append(json.loads(file.readline()))
    return found


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
