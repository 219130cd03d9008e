"""A program that speaks the engine's protocol and learns nothing. Behaviour: the seed of the spec.

`HONE_FAKE` holds JSON: `step_s` (time of a step), `crash_at` (exits there, always), `fail_at`
(reports Failed), `pause_at` (reports a tool that does not answer, once per process),
`disk_full_at` (reports a full disk, likewise), `deaf` (ignores pause and cancel).
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import threading
import time
from pathlib import Path
from typing import Any

import msgspec
import zstandard

from jobs.engine import events, spec, types

OUT = os.fdopen(os.dup(1), "wb", buffering=0)


def emit(event: events.Event) -> None:
    OUT.write(msgspec.json.encode(event) + b"\n")


class Listener(threading.Thread):
    """Follows what the supervisor says; ends the process where the supervisor is gone."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.desired = "run"
        self.committed: int | None = None

    def run(self) -> None:
        for line in sys.stdin.buffer:
            control = msgspec.json.decode(line, type=spec.Control)
            self.desired = control.desired
            if control.committed is not None:
                self.committed = control.committed
        os._exit(3)

    def wait(self, seconds: float) -> str:
        """What is wanted after a while, or as soon as it is not to run."""
        deadline = time.monotonic() + seconds
        while self.desired == "run" and time.monotonic() < deadline:
            time.sleep(0.005)
        return self.desired


def trajectory(step: int, epoch: int, sample: int) -> types.Trajectory:
    return types.Trajectory(
        uid=f"s{step}-{sample}",
        row=sample // 2,
        group=f"g{sample // 2}",
        sample=sample % 2,
        split="train" if step else "validation",
        trace_id="trace_0",
        ids=[1, 2],
        logprobs=[0.0, -0.5],
        entropies=[0.0, 0.1],
        kinds=[0, 1],
        stop=types.StopReason.FINAL_ANSWER,
        reward=0.5,
        turns=[types.Turn(index=0, start=1, end=2, text=f"epoch {epoch}", content="ok")],
    )


def bodies(run_dir: Path, step: int, epoch: int) -> tuple[str, list[events.TrajectoryRow]]:
    name = f"trajectories/step-{step:06d}.e{epoch}.zst"
    (run_dir / "trajectories").mkdir(exist_ok=True)
    rows = []
    with (run_dir / name).open("wb") as file:
        for sample in range(4):
            whole = trajectory(step, epoch, sample)
            frame = zstandard.ZstdCompressor().compress(msgspec.json.encode(whole))
            rows.append(
                events.TrajectoryRow(
                    uid=whole.uid,
                    split=whole.split,
                    row=whole.row,
                    group=whole.group,
                    sample=whole.sample,
                    reward=whole.reward,
                    turns=1,
                    tool_calls=0,
                    tokens=1,
                    total_tokens=2,
                    stop="final_answer",
                    flags=("looped",) if sample == 3 else (),
                    excerpt="ok",
                    offset=file.tell(),
                    length=len(frame),
                )
            )
            file.write(frame)
    return name, rows


def checkpoint(run_dir: Path, step: int, validation: float | None) -> events.CheckpointRef:
    path = f"checkpoints/step-{step:06d}"
    folder = run_dir / path
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "state.json").write_text(json.dumps({"step": step}))
    manifest = json.dumps({"step": step}).encode()
    (folder / "MANIFEST.json").write_bytes(manifest)
    return events.CheckpointRef(
        step=step,
        path=path,
        manifest_sha256=hashlib.sha256(manifest).hexdigest(),
        bytes=len(manifest),
        validation_reward=validation,
    )


def remove_old(run_dir: Path, newest: int, committed: int | None) -> None:
    """As the engine: the newest two stay, and every one from the last committed step on."""
    oldest = newest - 1 if committed is None else min(newest - 1, committed)
    for step in range(oldest):
        folder = run_dir / f"checkpoints/step-{step:06d}"
        if folder.is_dir():
            shutil.rmtree(folder)


def step_done(run_dir: Path, step: int, total: int, epoch: int) -> events.StepDone:
    name, rows = bodies(run_dir, step, epoch)
    stats = {"n": 4, "graded": 4, "ungraded": 0, "reward_mean": 0.25 + 0.5 * step / total}
    validation = stats["reward_mean"] if step in {0, total} else None
    metrics: dict[str, dict[str, Any]] = {
        "train": stats if step else {},
        "validation": stats if validation is not None else {},
        "groups": {"total": 2, "with_signal": 2},
        "learning": {"loss": 0.1, "tokens_trained": 4},
        "seconds": {"rollout": 0.5, "total": 1.0},
    }
    return events.StepDone(
        step=step,
        total_steps=total,
        metrics=metrics,
        trajectories=tuple(rows),
        bodies=name,
        checkpoint=checkpoint(run_dir, step, validation),
    )


def adapter(run_dir: Path, step: int) -> events.AdapterRef:
    folder = run_dir / "adapter"
    folder.mkdir(exist_ok=True)
    weights = b"weights"
    (folder / "adapter_model.safetensors").write_bytes(weights)
    sha256 = hashlib.sha256(weights).hexdigest()
    files = [{"name": "adapter_model.safetensors", "sha256": sha256, "size": len(weights)}]
    (folder / "MANIFEST.json").write_text(json.dumps({"files": files}))
    return events.AdapterRef(
        step=step,
        path="adapter",
        sha256=sha256,
        bytes=len(weights),
        proof_max_abs_logprob_diff=0.0,
        proof_tokens=10,
    )


def resume_is_sound(handshake: spec.Handshake) -> bool:
    if handshake.last_step < 0:
        return True
    point = handshake.resume
    if point is None or point.step != handshake.last_step:
        return False
    manifest = Path(handshake.run_dir) / point.path / "MANIFEST.json"
    if not manifest.is_file():
        return False
    return hashlib.sha256(manifest.read_bytes()).hexdigest() == point.manifest_sha256


def main() -> int:
    handshake = msgspec.json.decode(sys.stdin.buffer.readline(), type=spec.Handshake)
    fake = json.loads(os.environ.get("HONE_FAKE", "{}"))
    run_dir, total = Path(handshake.run_dir), handshake.spec.steps
    listener = Listener()
    listener.start()
    sys.stderr.write("engine log: hello" + "\n")
    if not resume_is_sound(handshake):
        emit(events.Failed(code="bad_resume", text=f"no checkpoint for {handshake.last_step}"))
        return 1
    first = handshake.last_step + 1
    emit(
        events.Started(
            device="cpu",
            dtype="float32",
            parameters=10,
            trainable_parameters=2,
            sampler="reprefill",
            first_step=first,
        )
    )
    for step in range(first, total + 1):
        emit(events.Progress(step=step, phase="rollout", done=0, total=4))
        wanted = listener.wait(fake.get("step_s", 0.01))
        if wanted == "cancel" and not fake.get("deaf"):
            emit(events.Cancelled())
            return 0
        if wanted == "pause" and not fake.get("deaf"):
            emit(events.Paused(reason="asked", text=""))
            return 0
        if fake.get("deaf") and wanted != "run":
            time.sleep(60)
        if step == fake.get("crash_at"):
            sys.stderr.write("Traceback: the fake engine fell over" + "\n")
            os._exit(9)
        if step == fake.get("fail_at"):
            emit(events.Failed(code="out_of_memory", text="Step 2 needed 81.2 GB."))
            return 1
        if step == fake.get("pause_at") and handshake.epoch == 1:
            emit(events.Paused(reason="tool_unavailable", text="`refund` does not answer."))
            return 0
        if step == fake.get("disk_full_at") and handshake.epoch == 1:
            emit(events.Paused(reason="disk_full", text="The disk of the run is full."))
            return 0
        emit(step_done(run_dir, step, total, handshake.epoch))
        remove_old(run_dir, step, listener.committed)
    emit(events.Finished(seconds=2.5, adapter=adapter(run_dir, total), best_step=total))
    return 0


if __name__ == "__main__":
    sys.exit(main())
