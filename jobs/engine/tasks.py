"""Tasks of a dataset file, parsed only when drawn, in an order derived from the seed."""

from __future__ import annotations

import random
from array import array
from pathlib import Path
from typing import Any

import msgspec

from jobs.engine.errors import RunFailed
from jobs.engine.spec import DataSpec
from jobs.engine.types import Task


class TaskFile:
    """The rows of a JSONL file that take part; memory holds their offsets only."""

    def __init__(self, data: DataSpec) -> None:
        self.path = Path(data.path)
        self._offsets = self._read_offsets()
        rows = range(len(self._offsets)) if data.rows is None else data.rows
        for row in rows:
            if not 0 <= row < len(self._offsets):
                raise RunFailed(
                    "dataset_changed",
                    f"row {row} of {self.path.name} takes part, and the file has "
                    f"{len(self._offsets)} rows; upload the dataset again",
                )
        self._rows = rows
        if not self._rows:
            raise RunFailed("dataset_empty", f"{self.path.name} has no rows to use")

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Task:
        return self.of_row(self._rows[index])

    def of_row(self, row: int) -> Task:
        """The task of a line of the file, zero-based."""
        with self.path.open("rb") as stream:
            stream.seek(self._offsets[row])
            line = stream.readline()
        return parse_task(row, line, self.path.name)

    def _read_offsets(self) -> array[int]:
        offsets, place = array("q"), 0
        try:
            with self.path.open("rb") as stream:
                for line in stream:
                    if line.strip():
                        offsets.append(place)
                    place += len(line)
        except OSError as error:
            raise RunFailed(
                "dataset_missing",
                f"the dataset file {self.path.name} cannot be read ({error.strerror}); it may "
                "have been deleted",
            ) from error
        return offsets


def parse_task(row: int, line: bytes, name: str) -> Task:
    try:
        item: Any = msgspec.json.decode(line)
    except msgspec.DecodeError as error:
        raise RunFailed("dataset_bad_row", f"row {row} of {name} is not JSON: {error}") from error
    messages = item.get("messages") if isinstance(item, dict) else None
    if not isinstance(messages, list) or not messages:
        raise RunFailed("dataset_bad_row", f"row {row} of {name} has no list “messages”")
    return Task(row, tuple(messages), tuple(item.get("tools") or ()), item)


class TaskOrder:
    """Which task stands at a position: every epoch is a shuffle of its own."""

    def __init__(self, size: int, seed: int) -> None:
        self._size = size
        self._seed = seed
        self._epoch = -1
        self._order: list[int] = []

    def index(self, position: int) -> int:
        epoch, place = divmod(position, self._size)
        if epoch != self._epoch:
            self._order = list(range(self._size))
            random.Random(f"tasks:{self._seed}:{epoch}").shuffle(self._order)
            self._epoch = epoch
        return self._order[place]
