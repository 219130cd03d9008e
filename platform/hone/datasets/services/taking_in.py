"""A worker, or the request itself for a small file, makes a version of what arrived.

A version appears whole or not at all. Who works on an intake holds its `attempt`; a worker that was
taken for dead finds another number there, and what it made is thrown away.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import PermissionDenied
from django.db.models import F, Q
from django.http import Http404
from django.utils import timezone

from hone.accounts.selectors import access_organisation
from hone.core.errors import UserError
from hone.datasets.errors import DatasetRefused, DiskFull, IntakeLost
from hone.datasets.models import (
    DatasetVersion,
    Intake,
    IntakeState,
)
from hone.datasets.reading import LEAST_ROWS, Reading, read_upload
from hone.datasets.selectors import access_version
from hone.datasets.services.bell import TAKE_IN, send
from hone.datasets.services.uploads import (
    upload_chunks,
    upload_remove_bytes,
)
from hone.datasets.services.versions import (
    ReadFile,
    full_disk_named,
    version_first,
    version_next,
)
from hone.datasets.sources import (
    LocalFile,
    incoming,
    lines_without,
    link_only_part,
    split_lines,
    write,
)
from hone.datasets.splits import Split
from hone.datasets.tables import Columns, task_lines

BEAT_S = 1.0
SILENT_S = 60.0
"""A worker that says nothing for so long is taken for dead."""
KEPT_S = 30 * 24 * 3600.0
"""A refused file leaves its report so long."""
MOST_RUNG = 20
MOST_ATTEMPTS = 5
GIVEN_UP = (
    f"The check broke off {MOST_ATTEMPTS} times. Ask the operator to look into the worker's log, "
    "then upload the file again."
)
CHUNKS_PREVIEWED = 4
OF_A_VERSION = frozenset({"split", "without"})
"""The recipes that take rows of a version, not of a file."""
_SIDES = {"train": "training", "validation": "validation"}


def intake_run(intake_id: str) -> str:
    """Take the file in, if nobody else does; the state it ends in, or an empty text."""
    intake = _claimed(intake_id)
    if intake is None:
        return ""
    try:
        with full_disk_named():
            _take_in(intake)
    except IntakeLost:
        return ""
    except DatasetRefused as refusal:
        if intake.recipe["kind"] in OF_A_VERSION:
            _refused(intake, _too_few(intake), [], 0)
            return IntakeState.REFUSED
        problems = [[each.line, each.field, each.code, each.message] for each in refusal.problems]
        _refused(intake, refusal.message, problems, refusal.total)
    except DiskFull as refusal:
        _refused(intake, refusal.message, [], 0)
        raise
    except UserError as refusal:
        _refused(intake, refusal.message, [], 0)
    except (PermissionDenied, Http404):
        _refused(intake, "Who uploaded this file may no longer write here.", [], 0)
    intake.refresh_from_db()
    return intake.state


def intakes_sweep() -> int:
    """Ring again for files that nobody works on, and forget old reports; how many were rung for."""
    now = timezone.now()
    Intake.objects.filter(
        state__in=(IntakeState.REFUSED, IntakeState.ASKING),
        created_at__lt=now - timedelta(seconds=KEPT_S),
    ).delete()
    silent = Q(beat_at__lt=now - timedelta(seconds=SILENT_S))
    left = Intake.objects.filter(
        silent, state__in=(IntakeState.WAITING, IntakeState.RUNNING)
    ).order_by("created_at")[:MOST_RUNG]
    rung = 0
    for intake in left:
        if intake.attempt >= MOST_ATTEMPTS:
            _refused(intake, GIVEN_UP, [], 0)
            continue
        # One bell a minute: another waits in the queue already.
        if Intake.objects.filter(silent, pk=intake.pk).update(beat_at=now):
            Intake.objects.filter(pk=intake.pk, state=IntakeState.RUNNING).update(
                state=IntakeState.WAITING
            )
            rung += send(TAKE_IN, intake.pk)
    return rung


def _claimed(intake_id: str) -> Intake | None:
    waiting = Intake.objects.filter(pk=intake_id, state=IntakeState.WAITING)
    now = timezone.now()
    if not waiting.update(state=IntakeState.RUNNING, attempt=F("attempt") + 1, beat_at=now):
        return None
    return Intake.objects.select_related("upload", "organisation", "dataset", "created_by").get(
        pk=intake_id
    )


def _take_in(intake: Intake) -> None:
    with _made(intake) as path, path.open("rb") as opened:
        beat = _Beat(intake)
        file = LocalFile(opened, str(path))
        Intake.objects.filter(pk=intake.pk).update(bytes_total=path.stat().st_size)
        reading = read_upload(
            file.chunks(),
            most_rows=settings.MAX_DATASET_ROWS,
            most_bytes=settings.MAX_DATASET_BYTES,
            seen=beat.read,
            folder=Path(settings.FILE_UPLOAD_TEMP_DIR),
        )
        # Storage elsewhere reads for minutes.
        file.beat = beat
        _store(intake, ReadFile(reading, file))
    if intake.upload is not None:
        upload_remove_bytes(intake.upload)


def _store(intake: Intake, read: ReadFile) -> None:
    def settle(version: DatasetVersion) -> None:
        if not _mine(intake).update(
            state=IntakeState.STORED,
            version=version,
            bytes_done=version.bytes,
            rows_done=version.rows,
        ):
            raise IntakeLost

    assert intake.created_by is not None
    access_organisation(intake.created_by, intake.organisation_id, need="write")
    if intake.dataset is None:
        version_first(
            acting_user=intake.created_by,
            organisation=intake.organisation,
            name=intake.name,
            read=read,
            settle=settle,
        )
        return
    version_next(acting_user=intake.created_by, dataset=intake.dataset, read=read, settle=settle)


@contextmanager
def _made(intake: Intake) -> Iterator[Path]:
    """The rows as a file of JSON lines, by the intake's recipe."""
    recipe = intake.recipe
    if recipe["kind"] in OF_A_VERSION:
        with incoming() as path:
            version = access_version(intake.created_by or AnonymousUser(), recipe["version"])
            write(path, _beating(intake, _chosen(version, recipe)))
            yield path
        return
    with _arrived(intake) as path:
        if recipe["kind"] == "jsonl":
            yield path
            return
        columns = Columns(recipe["user"], recipe["system"], tuple(recipe["keep"]))
        with incoming() as made:
            write(made, _beating(intake, task_lines(path, recipe["kind"], columns)))
            yield made


def _chosen(version: DatasetVersion, recipe: dict[str, Any]) -> Iterator[bytes]:
    if recipe["kind"] == "without":
        return lines_without(version, recipe["rows"])
    return split_lines(version, Split.of(recipe), recipe["side"])


@contextmanager
def beginning(intake: Intake) -> Iterator[Path]:
    """As much of a table as its first rows need; Parquet has its columns at the end."""
    if intake.upload is None or intake.recipe["kind"] == "parquet":
        with _arrived(intake) as path:
            yield path
        return
    with incoming() as path:
        write(path, islice(upload_chunks(intake.upload), CHUNKS_PREVIEWED))
        yield path


@contextmanager
def _arrived(intake: Intake) -> Iterator[Path]:
    """The upload's bytes as one file on this machine."""
    if intake.upload is None:
        raise UserError("The file is gone. Upload it again.", code="gone", field="upload")
    with incoming() as path:
        if not link_only_part(intake.upload, path):
            write(path, _beating(intake, upload_chunks(intake.upload)))
        yield path


def _mine(intake: Intake) -> Any:
    return Intake.objects.filter(pk=intake.pk, state=IntakeState.RUNNING, attempt=intake.attempt)


def _refused(intake: Intake, message: str, problems: list[Any], total: int) -> None:
    done = _mine(intake).update(
        state=IntakeState.REFUSED, message=message, problems=problems, problems_total=total
    )
    if done and intake.upload is not None:
        upload_remove_bytes(intake.upload)


def _too_few(intake: Intake) -> str:
    """What is wrong with some rows of a version, such as a side of a split: each is sound."""
    if intake.recipe["kind"] == "without":
        return f"Too few rows would be left; at least {LEAST_ROWS} are needed."
    return (
        f"Too few rows are on the side for {_SIDES[intake.recipe['side']]}; at least {LEAST_ROWS} "
        "are needed. Hold out another share, use another seed or split by another key."
    )


def _beating(intake: Intake, chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The same chunks, said to be worked on. A page that looks at a table says nothing."""
    beat = _Beat(intake) if intake.state == IntakeState.RUNNING else None
    for chunk in chunks:
        yield chunk
        if beat is not None:
            beat()


class _Beat:
    """Says about once a second that somebody works, and how far; stops it where it was lost."""

    def __init__(self, intake: Intake) -> None:
        self._mine = _mine(intake)
        self._said = time.monotonic()

    def __call__(self, **progress: int) -> None:
        if time.monotonic() - self._said < BEAT_S:
            return
        self._said = time.monotonic()
        if not self._mine.update(beat_at=timezone.now(), **progress):
            raise IntakeLost

    def read(self, reading: Reading) -> None:
        self(bytes_done=reading.size, rows_done=reading.rows)
