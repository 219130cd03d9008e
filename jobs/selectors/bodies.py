"""Files of a run: where they are, and the one trajectory body that is looked at."""

from __future__ import annotations

from pathlib import Path
from typing import IO

import msgspec
import zstandard
from django.conf import settings
from django.core.files.storage import FileSystemStorage, default_storage

from hone.core.errors import UserError
from jobs.engine import types
from jobs.models import Trajectory, run_folder

LARGEST_BODY = 256 * 1024 * 1024
_DECODER = msgspec.json.Decoder(types.Trajectory)


def storage_is_local() -> bool:
    """Whether the file storage is the folder that runs write to, so that nothing is copied."""
    if not isinstance(default_storage, FileSystemStorage):
        return False
    return Path(default_storage.location).resolve() == Path(settings.MEDIA_ROOT).resolve()


def storage_key(run_id: str, path: str) -> str:
    """The name of a run's file in the file storage."""
    return f"runs/{run_id}/{path}"


def open_run_file(run_id: str, path: str) -> IO[bytes]:
    """A file of a run, from this machine or else from the file storage."""
    local = run_folder(run_id) / path
    if local.is_file():
        return local.open("rb")
    opened: IO[bytes] = default_storage.open(storage_key(run_id, path), "rb")
    return opened


def trajectory_body(trajectory: Trajectory) -> types.Trajectory:
    """The whole trajectory: one frame is read at its offset, nothing else of the file."""
    try:
        with open_run_file(trajectory.run_id, trajectory.bodies) as file:
            file.seek(trajectory.offset)
            frame = file.read(trajectory.length)
        raw = zstandard.ZstdDecompressor().decompress(frame, max_output_size=LARGEST_BODY)
        return _DECODER.decode(raw)
    except (OSError, zstandard.ZstdError, msgspec.MsgspecError) as error:
        raise UserError(
            f"The body of trajectory {trajectory.uid} cannot be read ({error}). "
            "Its figures above are whole.",
            code="body_unreadable",
        ) from error
