"""Hone's side: the engine as it is shipped, `python -m jobs.engine`, read off its event stream."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import msgspec

from benchmarks.engine import world
from benchmarks.engine.runs import Goal, ToTarget, Work
from jobs.engine.spec import Handshake


def measure_steps(port: int, *, steps: int) -> list[Work]:
    """Whole steps at a learning rate that changes nothing, with checkpoint and bodies.

    Refills are off, because TRL has none: both sides do 64 rollouts a step. The engine ends with
    an evaluation, of one task here, which is not counted.
    """
    with world.handshake(
        port,
        steps=steps,
        max_refills=0,
        learning_rate=world.STANDING_STILL,
        eval_interval=10_000,
    ) as handshake:
        validation = msgspec.structs.replace(handshake.spec.validation, rows=(0,))
        spec = msgspec.structs.replace(handshake.spec, validation=validation)
        events = list(_events(msgspec.structs.replace(handshake, spec=spec)))
    peak = events[-1]["peak_bytes"]
    return [_work(event["metrics"], peak) for event in _steps(events) if event["step"]]


def _work(metrics: dict[str, Any], peak_bytes: int) -> Work:
    seconds, train = metrics["seconds"], metrics["train"]
    return Work(
        rollouts=train["n"],
        rollout_s=seconds["rollout"] + seconds["grading"],
        step_s=seconds["total"] - seconds["evaluation"],
        sampled_tokens=train["tokens_mean"],
        tool_calls=train["tool_calls_mean"],
        reward=train["reward_mean"],
        peak_bytes=peak_bytes,
    )


def train_to(port: int, goal: Goal) -> ToTarget:
    """The demo's job until a validation reward; evaluations are not counted."""
    spent, curve = 0.0, []
    with world.handshake(
        port, steps=goal.steps, learning_rate=world.LEARNING_RATE, eval_interval=goal.every
    ) as handshake:
        for event in _steps(_events(handshake)):
            seconds = event["metrics"]["seconds"]
            spent += (seconds["total"] - seconds["evaluation"]) if event["step"] else 0.0
            validation = event["metrics"].get("validation")
            if validation:
                curve.append((event["step"], spent, validation["reward_mean"]))
            if validation and validation["reward_mean"] >= goal.reward:
                return ToTarget(True, spent, event["step"], curve)
            if spent > goal.limit_s:
                break
    return ToTarget(False, goal.limit_s, curve[-1][0], curve)


def _steps(events: Any) -> Iterator[dict[str, Any]]:
    return (event for event in events if event["event"] == "StepDone")


def _events(handshake: Handshake) -> Iterator[dict[str, Any]]:
    """The engine's events, and as the last one the most memory that it held."""
    with _engine(handshake) as process:
        assert process.stdout is not None
        last: dict[str, Any] = {}
        for line in process.stdout:
            last = json.loads(line)
            yield last
        _, _, usage = os.wait4(process.pid, 0)
        process.returncode = 0
        if last.get("event") != "Finished":
            # What went wrong is in the last event; standard error has the loader's progress.
            raise RuntimeError(f"the engine did not finish: {last}")
        yield {"event": "Ended", "peak_bytes": usage.ru_maxrss * 1024}


@contextmanager
def _engine(handshake: Handshake) -> Iterator[subprocess.Popen[bytes]]:
    """Without a thread setting: the engine chooses one thread for a model this small."""
    environment = {name: v for name, v in os.environ.items() if name != "OMP_NUM_THREADS"}
    process = subprocess.Popen(
        [sys.executable, "-m", "jobs.engine"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
    )
    try:
        stdin: IO[bytes] | None = process.stdin
        assert stdin is not None
        stdin.write(msgspec.json.encode(handshake) + b"\n")
        stdin.flush()
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            process.wait()
