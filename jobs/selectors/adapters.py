"""Downloads of adapters: zips that are made while they are sent, every hash checked first."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from django.core.files.storage import default_storage

from hone.core.errors import UserError
from jobs.models import Adapter, Checkpoint, run_folder
from jobs.selectors.bodies import open_run_file, storage_key

CHUNK = 1024 * 1024
MANIFEST = "MANIFEST.json"
PEFT = ("adapter_config.json", "adapter_model.safetensors")
"""What of a checkpoint is an adapter; the rest is for resuming."""


@dataclass(frozen=True)
class _Folder:
    """A folder of a run whose manifest lists its files; `what` names it in sentences."""

    run_id: str
    path: str
    what: str

    def open(self, name: str) -> IO[bytes]:
        return open_run_file(self.run_id, f"{self.path}/{name}")

    def sha256(self, name: str) -> str:
        digest = hashlib.sha256()
        with self.open(name) as file:
            while chunk := file.read(CHUNK):
                digest.update(chunk)
        return digest.hexdigest()

    def names(self) -> list[str]:
        here = run_folder(self.run_id) / self.path
        if here.is_dir():
            found = (path for path in here.rglob("*") if path.is_file())
            return sorted(str(path.relative_to(here)) for path in found)
        try:
            _, names = default_storage.listdir(storage_key(self.run_id, self.path))
        except FileNotFoundError:
            names = []
        if not names:
            raise UserError(
                f"The files of the {self.what} are gone from the file storage.",
                code="adapter_gone",
            )
        return sorted(names)


class _Pipe:
    """A file that `zipfile` writes to and that is emptied after each write; it cannot seek."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._parts.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        """The reader takes what is left."""

    def taken(self) -> bytes:
        data, self._parts = b"".join(self._parts), []
        return data


def adapter_zip(adapter: Adapter) -> Iterator[bytes]:
    """The adapter's files as a zip, in pieces; refuses before the first one if a hash differs."""
    folder = _Folder(adapter.run_id, adapter.path, "adapter")
    names = folder.names()
    _verify(folder, names)
    return _pieces(folder, names)


def checkpoint_zip(checkpoint: Checkpoint) -> Iterator[bytes]:
    """The adapter of a checkpoint in PEFT's format; verified, but never proved in a clean process.

    The manifest goes along as it was committed: it also lists what is only for resuming.
    """
    folder = _Folder(checkpoint.run_id, checkpoint.path, f"checkpoint of step {checkpoint.step}")
    names = [name for name in folder.names() if name in {*PEFT, MANIFEST}]
    if MANIFEST in names and folder.sha256(MANIFEST) != checkpoint.manifest_sha256:
        raise UserError(
            f"The manifest of the {folder.what} is not the one that was committed, so it is not "
            "offered.",
            code="adapter_corrupt",
        )
    _verify(folder, names, only=PEFT)
    return _pieces(folder, names)


def _pieces(folder: _Folder, names: list[str]) -> Iterator[bytes]:
    pipe = _Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_STORED) as archive:
        for name in names:
            entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            entry.external_attr = 0o644 << 16
            with folder.open(name) as source, archive.open(entry, "w") as target:
                while chunk := source.read(CHUNK):
                    target.write(chunk)
                    yield pipe.taken()
    yield pipe.taken()


def _verify(folder: _Folder, names: list[str], *, only: tuple[str, ...] = ()) -> None:
    """Refuse unless each file that the manifest lists, or each of `only`, is as it says."""
    if MANIFEST not in names:
        raise UserError(
            f"The {folder.what} has no manifest, so it is not offered.", code="adapter_corrupt"
        )
    listed = _listed(folder)
    for name in only or listed:
        wanted = listed.get(name, "not listed")
        found = folder.sha256(name) if name in names else "no file"
        if found != wanted:
            raise UserError(
                f"The {folder.what} does not match its manifest ({name}: sha256 {wanted[:8]}… ≠ "
                f"{found[:8]}…), so it is not offered.",
                code="adapter_corrupt",
            )


def _listed(folder: _Folder) -> dict[str, str]:
    try:
        with folder.open(MANIFEST) as file:
            manifest = json.load(file)
        return {entry["name"]: str(entry["sha256"]) for entry in manifest["files"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"The manifest of the {folder.what} cannot be read ({error}), so it is not offered.",
            code="adapter_corrupt",
        ) from error
