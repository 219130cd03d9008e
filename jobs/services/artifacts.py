"""Files of a run and the file storage: nothing is copied where the storage is the same folder."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from django.core.files import File
from django.core.files.storage import default_storage

from hone.core.disk import is_disk_full
from jobs.engine import events
from jobs.errors import MustPause, StorageFailed
from jobs.models import Checkpoint, PauseReason, Run, run_folder
from jobs.selectors.bodies import storage_is_local, storage_key

log = logging.getLogger(__name__)


def step_upload(run_id: str, done: events.StepDone) -> None:
    """Put a step's files where every machine finds them, before the step exists."""
    if storage_is_local():
        return
    if done.checkpoint is not None:
        _upload_folder(run_id, done.checkpoint.path)
    if done.bodies:
        _upload(run_id, done.bodies)


def adapter_upload(run_id: str, finished: events.Finished) -> None:
    """Put the exported adapter where every machine finds it, before it is offered."""
    if finished.adapter is not None and not storage_is_local():
        _upload_folder(run_id, finished.adapter.path)


def checkpoints_fetch(run: Run) -> None:
    """Bring the checkpoints that a resume needs to this machine; raises MustPause."""
    wanted = Checkpoint.objects.filter(run=run, available=True)
    needed = [row for row in wanted if row.kept or row.step == run.last_step]
    for checkpoint in needed:
        folder = run_folder(run.pk) / checkpoint.path
        if not folder.is_dir() and not storage_is_local():
            _fetch_folder(storage_key(run.pk, checkpoint.path), folder)
        if checkpoint.step == run.last_step and not folder.is_dir():
            raise MustPause(
                PauseReason.FILES_MISSING,
                f"The checkpoint of step {checkpoint.step} is not at {folder}, so the job cannot "
                "go on. Restore the files of the run from a backup and resume the job, or clone "
                "it.",
            )


def borrow_folder(owner: str, path: str, *, into: Path) -> Path | None:
    """Another run's folder on this machine, fetched to `into` where it is not; None: it is gone.

    The other run may be at work: nothing is written to its folder.
    """
    if (found := run_folder(owner) / path).is_dir():
        return found
    target = into / path
    if not target.is_dir() and not storage_is_local():
        _fetch_folder(storage_key(owner, path), target)
    return target if target.is_dir() else None


def borrow_file(owner: str, path: str, *, into: Path) -> Path | None:
    """As `borrow_folder`, of a file."""
    if (found := run_folder(owner) / path).is_file():
        return found
    target, key = into / path, storage_key(owner, path)
    if not storage_is_local():
        with storage():
            if default_storage.exists(key):
                _fetch(key, target)
    return target if target.is_file() else None


def checkpoints_delete(run_id: str, paths: Iterable[str]) -> None:
    """Remove checkpoints that no longer count. What cannot be removed only takes room.

    Files on a third machine are removed by the engine that holds the run there, once it is told.
    """
    paths = list(paths)
    for path in paths:
        shutil.rmtree(run_folder(run_id) / path, ignore_errors=True)
    if storage_is_local():
        return
    for path in paths:
        try:
            with storage():
                folder = storage_key(run_id, path)
                for name in _names(folder):
                    default_storage.delete(f"{folder}/{name}")
        except StorageFailed as error:
            log.warning("The stored checkpoint %s of %s stays: %s", path, run_id, error)


def storage_check() -> None:
    """Ask the storage for anything; raises StorageFailed where it does not answer."""
    with storage():
        default_storage.exists(storage_key("none", "none"))


@contextmanager
def storage() -> Iterator[None]:
    """StorageFailed for what a backend raises, each its own; a full disk here stays itself."""
    try:
        yield
    except Exception as error:
        if is_disk_full(error):
            raise
        raise StorageFailed(f"{type(error).__name__}: {error}") from error


def _upload_folder(run_id: str, path: str) -> None:
    root = run_folder(run_id)
    for file in sorted((root / path).rglob("*")):
        if file.is_file():
            _upload(run_id, str(file.relative_to(root)))


def _upload(run_id: str, path: str) -> None:
    key = storage_key(run_id, path)
    with (run_folder(run_id) / path).open("rb") as source, storage():
        if default_storage.exists(key):
            default_storage.delete(key)
        default_storage.save(key, File(source))


def _fetch_folder(key: str, target: Path) -> None:
    """The folder exists whole or not at all, whenever the storage or this process ends."""
    partial = target.with_name(f".{target.name}.fetched")
    shutil.rmtree(partial, ignore_errors=True)
    with storage():
        names = _names(key)
        for name in names:
            _fetch(f"{key}/{name}", partial / name)
    if names:
        partial.rename(target)


def _names(folder: str) -> list[str]:
    try:
        return default_storage.listdir(folder)[1]
    except FileNotFoundError:
        return []


def _fetch(key: str, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with default_storage.open(key, "rb") as source, target.open("wb") as file:
        while chunk := source.read(1024 * 1024):
            file.write(chunk)
