"""Files of a run and the file storage: nothing is copied where the storage is the same folder."""

from __future__ import annotations

from pathlib import Path

from django.core.files import File
from django.core.files.storage import default_storage

from jobs.engine import events
from jobs.errors import CannotStart
from jobs.models import Checkpoint, Run, run_folder
from jobs.selectors.bodies import storage_is_local, storage_key


def step_upload(run_id: str, done: events.StepDone) -> None:
    """Put a step's files where every machine finds them, before the step exists."""
    if storage_is_local():
        return
    _upload_folder(run_id, done.checkpoint.path)
    if done.bodies:
        _upload(run_id, done.bodies)


def adapter_upload(run_id: str, finished: events.Finished) -> None:
    """Put the exported adapter where every machine finds it, before it is offered."""
    if finished.adapter is not None and not storage_is_local():
        _upload_folder(run_id, finished.adapter.path)


def checkpoints_fetch(run: Run) -> None:
    """Bring the checkpoints that a resume needs to this machine; raises CannotStart."""
    wanted = Checkpoint.objects.filter(run=run, available=True)
    needed = [row for row in wanted if row.kept or row.step == run.last_step]
    for checkpoint in needed:
        folder = run_folder(run.pk) / checkpoint.path
        if not folder.is_dir() and not storage_is_local():
            _fetch_folder(run.pk, checkpoint.path)
        if checkpoint.step == run.last_step and not folder.is_dir():
            raise CannotStart(
                "checkpoint_gone",
                f"The checkpoint of step {checkpoint.step} is not at {folder}, so the job cannot "
                "go on. Restore the files of the run from a backup, or clone the job.",
            )


def _upload_folder(run_id: str, path: str) -> None:
    root = run_folder(run_id)
    for file in sorted((root / path).rglob("*")):
        if file.is_file():
            _upload(run_id, str(file.relative_to(root)))


def _upload(run_id: str, path: str) -> None:
    key = storage_key(run_id, path)
    if default_storage.exists(key):
        default_storage.delete(key)
    with (run_folder(run_id) / path).open("rb") as source:
        default_storage.save(key, File(source))


def _fetch_folder(run_id: str, path: str) -> None:
    target = run_folder(run_id) / path
    _, names = default_storage.listdir(storage_key(run_id, path))
    for name in names:
        _fetch(storage_key(run_id, f"{path}/{name}"), target / name)


def _fetch(key: str, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with default_storage.open(key, "rb") as source, target.open("wb") as file:
        while chunk := source.read(1024 * 1024):
            file.write(chunk)
