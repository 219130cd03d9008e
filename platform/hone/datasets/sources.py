"""Where the rows of a version come from: files in the folder of what arrives, on this machine."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkstemp

from django.conf import settings
from django.core.files.base import File
from django.core.files.storage import default_storage

from hone.core.errors import UserError
from hone.datasets.models import DatasetVersion, Upload
from hone.datasets.splits import Side, Split, side_of, split_by_row

CHUNK = 1 << 17


class LocalFile(File):  # type: ignore[type-arg]
    """A file that storage on this machine takes by renaming it; others read it."""

    beat: Callable[[], None] | None = None

    def read(self, size: int = -1) -> bytes:
        if self.beat is not None:
            self.beat()
        assert self.file is not None
        found: bytes = self.file.read(size)
        return found

    def temporary_file_path(self) -> str:
        return str(self.name)

    def chunks(self, chunk_size: int | None = None) -> Iterator[bytes]:
        self.seek(0)
        while chunk := self.read(chunk_size or CHUNK):
            yield chunk


@contextmanager
def incoming() -> Iterator[Path]:
    """An empty file in the folder of what arrives, gone afterwards if nobody took it."""
    handle, name = mkstemp(dir=settings.FILE_UPLOAD_TEMP_DIR)
    os.close(handle)
    try:
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)


def write(target: Path, chunks: Iterable[bytes]) -> None:
    with target.open("wb") as file:
        file.writelines(chunks)


def link_only_part(upload: Upload, target: Path) -> bool:
    """Whether the upload has a single part that is on this machine, and is `target` now too."""
    if len(upload.order) != 1:
        return False
    beside = target.with_suffix(".part")
    try:
        os.link(default_storage.path(upload.parts.get().storage_key), beside)
    except (NotImplementedError, OSError):
        return False
    beside.replace(target)
    return True


def version_lines(version: DatasetVersion) -> Iterator[bytes]:
    """The rows as they stand in the file, each with a line break; empty lines are left out."""
    with default_storage.open(version.storage_key) as file:
        for line in file:
            if content := line.strip(b" \t\r\n"):
                yield content + b"\n"


def lines_without(version: DatasetVersion, rows: Collection[int]) -> Iterator[bytes]:
    """All rows but these, which count from 0."""
    left_out = frozenset(rows)
    return (line for row, line in enumerate(version_lines(version)) if row not in left_out)


def split_lines(version: DatasetVersion, split: Split, side: Side) -> Iterator[bytes]:
    """The rows of one side. Raises UserError with the row that lacks the field."""
    if not split.field:
        sides = split_by_row(version.rows, split.share, split.seed)
        chosen = frozenset(sides[side == "validation"])
        yield from (line for row, line in enumerate(version_lines(version)) if row in chosen)
        return
    for row, line in enumerate(version_lines(version), 1):
        item = json.loads(line)
        if split.field not in item:
            raise UserError(
                f"Row {row} has no {split.field[:80]!r}, so its side is not known. Give each row "
                "one, or split by row.",
                code="split_field",
                field="by",
            )
        if side_of(item[split.field], split.share, split.seed) == side:
            yield line
