"""Downloads of adapters: zips that are made while they are sent, every hash checked first.

Each holds PEFT's two files, a model card and a manifest that lists what else is in the zip; that
of a job's adapter also holds the proof.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import partial
from typing import IO, Any

from django.core.files.storage import default_storage

from hone.core.errors import UserError
from jobs.models import Adapter, Checkpoint, run_folder
from jobs.selectors.bodies import open_run_file, storage_key
from jobs.selectors.cards import checkpoint_card

CHUNK = 1024 * 1024
MANIFEST = "MANIFEST.json"
CARD = "README.md"
PROOF = "proof.json"
ASIDE = ".corrupt"
"""What the engine adds to the name of a damaged folder."""
NOT_OFFERED = ", so it is not offered."
STATE = "state.json"
WEIGHTS = "adapter_model.safetensors"
PEFT = ("adapter_config.json", WEIGHTS)
"""What of a checkpoint is an adapter; the rest is for resuming."""

_Entry = dict[str, Any]
"""A file as a manifest lists it: name, size, sha256."""


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
    listed = _listed(folder)
    _verify(folder, listed, listed)
    if listed.get(WEIGHTS, {}).get("sha256") != adapter.sha256:
        raise _corrupt("The weights of the adapter are not those that were proved")
    return _pieces({name: partial(folder.open, name) for name in (MANIFEST, *listed)})


def checkpoint_zip(checkpoint: Checkpoint) -> Iterator[bytes]:
    """The adapter of a checkpoint in PEFT's format; verified, but never proved in a clean process.

    Card and manifest are the zip's own: the committed manifest also lists what is for resuming.
    """
    folder = _Folder(checkpoint.run_id, checkpoint.path, f"checkpoint of step {checkpoint.step}")
    listed = _listed(folder, manifest_sha256=checkpoint.manifest_sha256)
    _verify(folder, listed, (*PEFT, STATE))
    with folder.open(STATE) as file:
        card = checkpoint_card(checkpoint, file.read()).encode()
    files = [*(listed[name] for name in PEFT), _entry(CARD, card)]
    manifest = {"schema_version": 1, "step": checkpoint.step, "files": files}
    return _pieces(
        {
            MANIFEST: partial(io.BytesIO, json.dumps(manifest).encode()),
            CARD: partial(io.BytesIO, card),
            **{name: partial(folder.open, name) for name in PEFT},
        }
    )


def checkpoint_damage(checkpoint: Checkpoint, *, aside: bool = False) -> str:
    """What differs from the manifest that was committed; empty where every hash is right.

    `aside`: the engine found it damaged before, and gave its folder another name.
    """
    path = f"{checkpoint.path}{ASIDE}" if aside else checkpoint.path
    folder = _Folder(checkpoint.run_id, path, f"checkpoint of step {checkpoint.step}")
    try:
        listed = _listed(folder, manifest_sha256=checkpoint.manifest_sha256)
        _verify(folder, listed, listed)
    except UserError as error:
        return error.message.removesuffix(NOT_OFFERED)
    return ""


def adapter_proof(adapter: Adapter) -> bytes:
    """The proof that travels with the download, as it was exported; its hash is checked."""
    folder = _Folder(adapter.run_id, adapter.path, "adapter")
    _verify(folder, _listed(folder), [PROOF])
    with folder.open(PROOF) as file:
        return file.read()


def _entry(name: str, data: bytes) -> _Entry:
    return {"name": name, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def _pieces(files: dict[str, Callable[[], IO[bytes]]]) -> Iterator[bytes]:
    pipe = _Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_STORED) as archive:
        for name, opened in files.items():
            entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            entry.external_attr = 0o644 << 16
            with opened() as source, archive.open(entry, "w") as target:
                while chunk := source.read(CHUNK):
                    target.write(chunk)
                    yield pipe.taken()
    yield pipe.taken()


def _listed(folder: _Folder, *, manifest_sha256: str | None = None) -> dict[str, _Entry]:
    """The files that the folder's manifest lists, by name; refuses a manifest of another hash."""
    if MANIFEST not in folder.names():
        raise _corrupt(f"The {folder.what} has no manifest")
    if manifest_sha256 not in {None, folder.sha256(MANIFEST)}:
        raise _corrupt(f"The manifest of the {folder.what} is not the one that was committed")
    try:
        with folder.open(MANIFEST) as file:
            entries = json.load(file)["files"]
        return {entry["name"]: {**entry, "sha256": str(entry["sha256"])} for entry in entries}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _corrupt(f"The manifest of the {folder.what} cannot be read ({error})") from error


def _verify(folder: _Folder, listed: dict[str, _Entry], names: Collection[str]) -> None:
    """Refuse unless each of these files is there and is what the manifest says."""
    present = set(folder.names())
    for name in names:
        wanted = listed[name]["sha256"] if name in listed else "not listed"
        found = folder.sha256(name) if name in present else "no file"
        if found != wanted:
            raise _corrupt(
                f"The {folder.what} does not match its manifest ({name}: sha256 {wanted[:8]}… ≠ "
                f"{found[:8]}…)"
            )


def _corrupt(what: str) -> UserError:
    return UserError(f"{what}{NOT_OFFERED}", code="adapter_corrupt")
