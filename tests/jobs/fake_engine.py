"""A program that speaks the engine's protocol and learns nothing. Behaviour: the seed of the spec.

`HONE_FAKE` holds JSON: `step_s` (time of a step), `crash_at` (exits there, always), `fail_at`
(reports Failed), `pause_at` (reports a tool that does not answer, once per process),
`disk_full_at` (reports a full disk, likewise), `deaf` (ignores pause and cancel), `calls` (1: a
rollout begins with a turn that calls). A replay takes `replay_s` and ends as `replayed` says:
`crash`, `fail`, `disk_full`, or else fields of `ReplayDone`. A preflight tries its slices;
`lost_at` says which steps are lost to a tool. A playground tells of a turn of each side, and then
of the side.
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
from jobs.engine.reporting import write_bodies

OUT = os.fdopen(os.dup(1), "wb", buffering=0)


def emit(event: events.Event) -> None:
    OUT.write(msgspec.json.encode(event) + b"\n")


class Listener(threading.Thread):
    """Follows what the supervisor says; ends the process where the supervisor is gone."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.desired = "run"
        self.committed: int | None = None
        self.available: tuple[int, ...] = ()

    def run(self) -> None:
        for line in sys.stdin.buffer:
            control = msgspec.json.decode(line, type=spec.Control)
            self.desired = control.desired
            if control.committed is not None:
                self.committed = control.committed
            if control.available is not None:
                self.available = control.available
        os._exit(3)

    def wait(self, seconds: float) -> str:
        """What is wanted after a while, or as soon as it is not to run."""
        deadline = time.monotonic() + seconds
        while self.desired == "run" and time.monotonic() < deadline:
            time.sleep(0.005)
        return self.desired


CALL = types.ToolCall(id="call_1", name="lookup", arguments="{}", output="found", status="ok")


def trajectory(step: int, epoch: int, sample: int) -> types.Trajectory:
    calls = json.loads(os.environ.get("HONE_FAKE", "{}")).get("calls", 0)
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
        turns=[types.Turn(index=0, start=1, end=2, text="", calls=[CALL])][:calls]
        + [types.Turn(index=calls, start=1, end=2, text=f"epoch {epoch}", content="ok")],
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


def remove_old(run_dir: Path, newest: int, listener: Listener) -> None:
    """As the engine: the newest two stay, every one from the last committed step on, and those
    that the database still holds."""
    committed = listener.committed
    oldest = newest - 1 if committed is None else min(newest - 1, committed)
    for step in range(oldest):
        folder = run_dir / f"checkpoints/step-{step:06d}"
        if folder.is_dir() and step not in listener.available:
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


def replayed(replay: spec.ReplaySpec, fake: dict[str, Any], listener: Listener) -> events.Event:
    """Refuses what a real engine could not use; `heard` is the handshake's replay, for tests."""
    told = dict(fake.get("replayed", {}))
    if listener.wait(fake.get("replay_s", 0.0)) == "cancel":
        return events.Cancelled()
    if told.pop("crash", False):
        os._exit(9)
    if told.pop("disk_full", False):
        return events.Paused(reason="disk_full", text="The disk is full.")
    if text := told.pop("fail", ""):
        return events.Failed(code="continuations_lost", text=text)
    for path in (replay.bodies, *(point.path for point in replay.weights)):
        if not Path(path).exists():
            return events.Failed(code="missing", text=path)
    fields: dict[str, Any] = {
        "uid": replay.uid,
        "turn": replay.turn,
        "delta": 0.3,
        "interval": (0.1, 0.5),
        "n": 2 * replay.continuations - 1,
        "unusable": 1,
        "reason": "1 of 8 continuations are unusable",
        "weights_step": replay.weights[0].step if replay.weights else 0,
        "cost": {
            "rollouts": 2 * replay.continuations,
            "sampled_tokens": 70,
            "tool_calls": 3,
            "seconds": 1.5,
            "heard": msgspec.to_builtins(replay),
        },
    }
    return events.ReplayDone(**(fields | told))


def tried(handshake: spec.Handshake, fake: dict[str, Any], listener: Listener) -> int:
    """A preflight: the same reward for the first attempts, another for the last ones."""
    wanted, size = handshake.preflight, handshake.spec.groups_per_step
    assert wanted is not None
    slices = [wanted.rows[at : at + size] for at in range(0, len(wanted.rows), size)]
    for place, rows in enumerate(slices):
        step = handshake.last_step + 1 + place
        if listener.wait(fake.get("step_s", 0.01)) == "cancel":
            emit(events.Cancelled())
            return 0
        if step == fake.get("crash_at") and handshake.epoch == 1:
            os._exit(9)
        lost = "tool_unavailable" if step in fake.get("lost_at", ()) else ""
        left = len(slices) - place - 1
        emit(slice_done(handshake, step, rows, wanted.attempts, lost=lost, total=step + left))
        if lost and not wanted.is_last_try:
            emit(events.Paused(reason="tool_unavailable", text="`refund` does not answer."))
            return 0
        if lost:
            break
    emit(events.Finished(seconds=1.5))
    return 0


def slice_done(
    handshake: spec.Handshake,
    step: int,
    rows: tuple[int, ...],
    attempts: int,
    *,
    lost: str,
    total: int,
) -> events.StepDone:
    made = [
        events.TrajectoryRow(
            uid=f"p-{step}-{row}-{sample}",
            split="preflight",
            row=row,
            group=str(row),
            sample=sample,
            reward=None if lost else float(sample == attempts - 1),
            turns=1,
            tool_calls=0,
            tokens=5,
            total_tokens=20,
            stop="tool_fault" if lost else "final_answer",
            cause="tool refund: HTTP 502" if lost else "",
            offset=0,
            length=1,
        )
        for row in rows
        for sample in range(attempts)
    ]
    stats = {"n": len(made), "tokens_mean": 5.0, "tools": {}, "lost": lost, "lost_text": "502"}
    return events.StepDone(
        step=step,
        total_steps=total,
        metrics={
            "preflight": stats,
            "trial": {},
            "seconds": {"rollout": 1.0, "grading": 0.0, "total": 1.0},
        },
        trajectories=tuple(made),
    )


def answered(handshake: spec.Handshake, fake: dict[str, Any], listener: Listener) -> int:
    """A playground: each side answers in one turn; the second is right."""
    playground, run_dir = handshake.playground, Path(handshake.run_dir)
    assert playground is not None
    for step in range(handshake.last_step + 1, len(playground.sides)):
        start = playground.sides[step].lora.start
        if start is not None and not Path(start.path).is_dir():
            emit(events.Failed(code="missing", text=start.path))
            return 1
        whole = trajectory(step, handshake.epoch, 0)
        whole.uid, whole.split, whole.row = f"side-{'AB'[step]}", "playground", playground.row
        whole.reward = float(step) if handshake.spec.grader else None
        emit(events.TurnsSoFar(step=step, rollout=msgspec.structs.replace(whole, stop=None)))
        if listener.wait(fake.get("step_s", 0.01)) == "cancel":
            emit(events.Cancelled())
            return 0
        if step == fake.get("crash_at") and handshake.epoch == 1:
            os._exit(9)
        emit(side_done(run_dir, step, len(playground.sides) - 1, handshake.epoch, whole))
    emit(events.Finished(seconds=1.5))
    return 0


def side_done(
    run_dir: Path, step: int, total: int, epoch: int, whole: types.Trajectory
) -> events.StepDone:
    name, rows = write_bodies(run_dir, step, epoch, [whole])
    seconds = {"loading": 20.0, "rollout": 1.0, "grading": 0.0, "total": 21.0}
    return events.StepDone(
        step=step,
        total_steps=total,
        metrics={"seconds": seconds},
        trajectories=rows,
        bodies=name,
    )


def main() -> int:
    handshake = msgspec.json.decode(sys.stdin.buffer.readline(), type=spec.Handshake)
    fake = json.loads(os.environ.get("HONE_FAKE", "{}"))
    listener = Listener()
    listener.start()
    sys.stderr.write("engine log: hello" + "\n")
    if handshake.replay is not None:
        emit(replayed(handshake.replay, fake, listener))
        return 0
    if handshake.preflight is not None:
        return tried(handshake, fake, listener)
    if handshake.playground is not None:
        return answered(handshake, fake, listener)
    return trained(handshake, fake, listener)


def trained(handshake: spec.Handshake, fake: dict[str, Any], listener: Listener) -> int:
    run_dir, total = Path(handshake.run_dir), handshake.spec.steps
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
        remove_old(run_dir, step, listener)
    emit(events.Finished(seconds=2.5, adapter=adapter(run_dir, total), best_step=total))
    return 0


if __name__ == "__main__":
    sys.exit(main())
