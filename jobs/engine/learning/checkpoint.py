"""Checkpoints: complete, synced and hashed before they have a name; verified before parsing."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
from safetensors import SafetensorError
from safetensors.torch import load as tensors_from_bytes
from safetensors.torch import save as tensors_to_bytes
from torch import Tensor

from jobs.engine.alarms import AlarmState
from jobs.engine.errors import RunFailed

SCHEMA_VERSION = 1
MANIFEST = "MANIFEST.json"
ADAPTER = "adapter_model.safetensors"
ADAPTER_CONFIG = "adapter_config.json"
OPTIMISER = "optimizer.safetensors"
STATE = "state.json"
ROLLING = 2


class TrainingState(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """All that a resumed run needs beside tensors. No clock and no path: resumed equals unbroken.

    Random numbers are derived by hashing from `seed` and the names of what they are for, and the
    order of tasks from `seed` and `position`, so that there is no generator to save.
    """

    schema_version: int = SCHEMA_VERSION
    step: int
    position: int
    """Tasks drawn so far, over all epochs."""
    updates: int
    seed: int
    config_sha256: str
    base_sha256: str
    silent_steps: int = 0
    """Steps in a row, up to this one, that had no learning signal."""
    evaluations: dict[str, float] = msgspec.field(default_factory=dict)
    """Mean validation reward by step."""
    alarms: AlarmState = AlarmState()
    """What the alarms remember; empty in checkpoints from before there were any."""
    gate: float = 0.0
    """What the gate of the step term remembers."""


class FileEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One file of a folder as the manifest lists it."""

    name: str
    size: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The last file of a folder; a folder without it is not a checkpoint."""

    schema_version: int
    step: int
    files: tuple[FileEntry, ...]


class CheckpointCorrupt(RunFailed):
    """A file is missing or not what the manifest says."""

    def __init__(self, path: Path, file: str, problem: str) -> None:
        super().__init__(
            "checkpoint_corrupt",
            f"the checkpoint {path.name} cannot be used: {file} {problem}. It was set aside as "
            f"{path.name}.corrupt. Clone the job to begin again; the adapters of its other "
            "checkpoints can still be downloaded.",
        )
        self.file = file


def folder_name(step: int) -> str:
    return f"step-{step:06d}"


def write_synced(path: Path, data: bytes) -> None:
    """Write a whole new file and wait until the disk has it."""
    with path.open("xb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def sync_folder(path: Path) -> None:
    """Wait until the disk has the folder's list of names."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def publish_folder(final: Path, files: dict[str, bytes], *, step: int) -> str:
    """Write a folder so that it exists whole or not at all; returns its manifest's sha256."""
    final.parent.mkdir(parents=True, exist_ok=True)
    temporary = final.with_name(f".{final.name}.{secrets.token_hex(4)}")
    manifest = msgspec.json.encode(
        Manifest(
            SCHEMA_VERSION,
            step,
            tuple(
                FileEntry(name, len(data), hashlib.sha256(data).hexdigest())
                for name, data in sorted(files.items())
            ),
        )
    )
    try:
        temporary.mkdir()
        for name, data in sorted(files.items()):
            write_synced(temporary / name, data)
        write_synced(temporary / MANIFEST, manifest)
        sync_folder(temporary)
        if final.exists():
            shutil.rmtree(final)
        temporary.rename(final)
        sync_folder(final.parent)
    except OSError:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return hashlib.sha256(manifest).hexdigest()


def folder_bytes(path: Path) -> int:
    return sum(entry.stat().st_size for entry in path.iterdir() if entry.is_file())


def read_verified(path: Path, manifest_sha256: str | None = None) -> dict[str, bytes]:
    """All files of a folder after their hashes were checked; a bad folder is set aside."""
    try:
        return read_checked(path, manifest_sha256)
    except CheckpointCorrupt:
        _quarantine(path)
        raise


def read_checked(path: Path, manifest_sha256: str | None) -> dict[str, bytes]:
    """As `read_verified`, for a folder that belongs to another run: it is left as it is."""
    raw = _bytes_of(path, MANIFEST)
    if manifest_sha256 is not None and hashlib.sha256(raw).hexdigest() != manifest_sha256:
        raise CheckpointCorrupt(path, MANIFEST, "is not the one that was recorded for this step")
    try:
        manifest = msgspec.json.decode(raw, type=Manifest)
    except msgspec.DecodeError as error:
        raise CheckpointCorrupt(path, MANIFEST, f"is not a manifest ({error})") from error
    files: dict[str, bytes] = {}
    for entry in manifest.files:
        data = _bytes_of(path, entry.name)
        if len(data) != entry.size or hashlib.sha256(data).hexdigest() != entry.sha256:
            raise CheckpointCorrupt(
                path, entry.name, f"has {len(data)} bytes that differ from the {entry.size} saved"
            )
        files[entry.name] = data
    return files


def _bytes_of(path: Path, name: str) -> bytes:
    if Path(name).name != name:
        raise CheckpointCorrupt(path, MANIFEST, f"names a file outside the folder ({name})")
    try:
        return (path / name).read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise CheckpointCorrupt(path, name, "is missing") from error
    except OSError as error:
        # Nothing is known against the file itself: the next try may well read it.
        raise RunFailed(
            "checkpoint_unreadable",
            f"the checkpoint {path.name} could not be read: {name}: {error.strerror}",
            permanent=False,
        ) from error


def _quarantine(path: Path) -> None:
    aside = path.with_name(f"{path.name}.corrupt")
    if path.exists() and not aside.exists():
        path.rename(aside)


def adapter_files(adapter: dict[str, Tensor], adapter_config: dict[str, Any]) -> dict[str, bytes]:
    """The contents of a PEFT folder."""
    return {
        ADAPTER: tensors_to_bytes(adapter, metadata={"format": "pt"}),
        ADAPTER_CONFIG: msgspec.json.format(msgspec.json.encode(adapter_config), indent=2),
    }


def checkpoint_files(
    adapter: dict[str, Tensor],
    adapter_config: dict[str, Any],
    optimiser: dict[str, Tensor],
    state: TrainingState,
) -> dict[str, bytes]:
    """The contents of a checkpoint folder, without its manifest."""
    return {
        **adapter_files(adapter, adapter_config),
        OPTIMISER: tensors_to_bytes(optimiser),
        STATE: msgspec.json.format(msgspec.json.encode(state), indent=2),
    }


def parse_tensors(path: Path, name: str, files: dict[str, bytes]) -> dict[str, Tensor]:
    if name not in files:
        raise CheckpointCorrupt(path, name, "is not in the manifest")
    try:
        return tensors_from_bytes(files[name])
    except SafetensorError as error:
        raise CheckpointCorrupt(path, name, f"is not a safetensors file ({error})") from error


def parse_state(path: Path, files: dict[str, bytes]) -> TrainingState:
    try:
        return msgspec.json.decode(files.get(STATE, b""), type=TrainingState)
    except msgspec.DecodeError as error:
        raise CheckpointCorrupt(path, STATE, f"is not a training state ({error})") from error


def best_steps(evaluations: dict[str, float], count: int) -> list[int]:
    """The steps with the highest validation reward, best first; of equals, the latest."""
    ranked = sorted(evaluations, key=lambda step: (evaluations[step], int(step)), reverse=True)
    return [int(step) for step in ranked[:count]]


def prune(root: Path, keep: Iterable[int], *, newest: int, committed: int | None) -> None:
    """Remove checkpoints that no longer count.

    What stays: those in `keep`, the newest two, and every one from the last committed step on,
    since a resume begins there. `committed` None: nothing is known of commits.
    """
    wanted = set(keep)
    oldest = newest - ROLLING + 1
    if committed is not None:
        oldest = min(oldest, committed)
    for path in root.glob("step-*"):
        number = path.name.removeprefix("step-")
        if number.isdigit() and int(number) < oldest and int(number) not in wanted:
            shutil.rmtree(path, ignore_errors=True)


def remove_orphans(run_dir: Path, last_step: int) -> None:
    """Forget files of steps that were never committed, and half-written folders."""
    for folder in ("checkpoints", "trajectories"):
        for path in (run_dir / folder).glob("*"):
            number = path.name.removeprefix("step-").split(".")[0]
            if path.name.startswith(".") or (number.isdigit() and int(number) > last_step):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
