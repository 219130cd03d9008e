"""Writes the event stream and the trajectory bodies."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, Literal

import msgspec
import zstandard

from jobs.engine.credit.attribution import credit_summary
from jobs.engine.credit.base import is_graded
from jobs.engine.events import Event, Message, Progress, TrajectoryRow
from jobs.engine.learning.checkpoint import folder_name, sync_folder, write_synced
from jobs.engine.metrics import is_looped
from jobs.engine.received import audit_of
from jobs.engine.types import StopReason, Trajectory

Phase = Literal["loading", "evaluation", "rollout", "learning", "checkpoint", "export"]
EXCERPT_MAX = 2000
LEVEL = 3


class EventWriter:
    """One JSON object a line; each is flushed, so that the reader sees whole events only."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def emit(self, event: Event) -> None:
        line = msgspec.json.encode(event) + b"\n"
        with self._lock:
            self._stream.write(line)
            self._stream.flush()

    def warn(self, code: str, text: str) -> None:
        self.emit(Message(level="warn", code=code, text=text))

    def progress(self, step: int, phase: Phase, done: int, total: int) -> None:
        self.emit(Progress(step=step, phase=phase, done=done, total=total))


def flags_of(trajectory: Trajectory) -> tuple[str, ...]:
    statuses = {call.status for call in trajectory.calls}
    idle = trajectory.split == "train" and is_graded(trajectory) and not trajectory.trained
    audit = audit_of(trajectory)
    found = {
        "looped": is_looped(trajectory),
        "ungraded": not is_graded(trajectory),
        "malformed_call": "malformed" in statuses,
        "tool_error": "tool_error" in statuses,
        "tool_fault": trajectory.stop is StopReason.TOOL_FAULT or "fault" in statuses,
        "no_signal": idle,
        "audit_differs": audit is not None and not audit.agrees,
    }
    return tuple(name for name, present in found.items() if present)


def excerpt_of(trajectory: Trajectory) -> str:
    """The last answer, then the calls; this is what search reads."""
    lines = [trajectory.answer.strip()]
    lines += [f"{call.name} {call.arguments}" for call in trajectory.calls]
    return "\n".join(line for line in lines if line)[:EXCERPT_MAX]


def trajectory_row(trajectory: Trajectory, offset: int, length: int) -> TrajectoryRow:
    graded = is_graded(trajectory)
    return TrajectoryRow(
        uid=trajectory.uid,
        split=trajectory.split,
        row=trajectory.row,
        group=trajectory.group,
        sample=trajectory.sample,
        reward=trajectory.reward if graded else None,
        parts=trajectory.parts,
        advantage=trajectory.advantage,
        trained=trajectory.trained,
        turns=len(trajectory.turns),
        tool_calls=len(trajectory.calls),
        tokens=trajectory.sampled_tokens,
        total_tokens=len(trajectory.ids),
        stop=str(trajectory.stop or ""),
        flags=flags_of(trajectory),
        cause=trajectory.cause,
        tools=tuple(sorted({call.name for call in trajectory.calls})),
        credit=credit_summary(trajectory),
        excerpt=excerpt_of(trajectory),
        seconds=trajectory.seconds,
        offset=offset,
        length=length,
    )


def write_bodies(
    run_dir: Path, step: int, epoch: int, trajectories: Sequence[Trajectory]
) -> tuple[str, tuple[TrajectoryRow, ...]]:
    """One zstd frame a trajectory, one after the other; complete and synced on return."""
    name = f"{folder_name(step)}.e{epoch}.zst"
    folder = run_dir / "trajectories"
    folder.mkdir(parents=True, exist_ok=True)
    compressor = zstandard.ZstdCompressor(level=LEVEL)
    frames: list[bytes] = []
    rows: list[TrajectoryRow] = []
    offset = 0
    for trajectory in trajectories:
        frame = compressor.compress(msgspec.json.encode(trajectory))
        rows.append(trajectory_row(trajectory, offset, len(frame)))
        frames.append(frame)
        offset += len(frame)
    temporary = folder / f".{name}.{secrets.token_hex(4)}"
    try:
        write_synced(temporary, b"".join(frames))
        temporary.rename(folder / name)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(folder)
    return f"trajectories/{name}", tuple(rows)


def read_body(path: Path, offset: int, length: int) -> Trajectory:
    """One trajectory of a step's body file."""
    with path.open("rb") as stream:
        stream.seek(offset)
        frame = stream.read(length)
    return msgspec.json.decode(zstandard.ZstdDecompressor().decompress(frame), type=Trajectory)


def read_bodies(path: Path) -> list[Trajectory]:
    """All trajectories of a step's body file, in order."""
    data, found = path.read_bytes(), []
    while data:
        frame = zstandard.ZstdDecompressor().decompressobj()
        found.append(msgspec.json.decode(frame.decompress(data), type=Trajectory))
        data = frame.unused_data
    return found
