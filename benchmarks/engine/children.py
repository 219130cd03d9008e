"""Each measurement in a process of its own: its threads, its memory, its last line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from benchmarks.engine.runs import Goal, ToTarget, Work

RUN_LIMIT_S = 600.0


class Failed(RuntimeError):
    """A measurement broke, or took longer than it may."""


@dataclass(frozen=True)
class TrlWay:
    """One configuration of TRL."""

    threads: int
    batch: int
    """Rollouts of one forward and backward; gradients add up to all rollouts of the step."""
    tools: str = "sync"

    def __str__(self) -> str:
        plural = "" if self.threads == 1 else "s"
        return f"{self.threads} thread{plural}, batches of {self.batch}, {self.tools} tools"

    def arguments(self) -> list[str]:
        return [
            *("--threads", str(self.threads)),
            *("--batch", str(self.batch)),
            *("--tools", self.tools),
        ]


def trl_steps(way: TrlWay, port: int, *, steps: int, limit_s: float = RUN_LIMIT_S) -> list[Work]:
    """The steps after the first; each with the most memory that the process held."""
    command = [*way.arguments(), "--port", str(port), "--steps", str(steps)]
    said, peak = child("benchmarks.engine.trl_side", command, way.threads, limit_s)
    works = msgspec.convert(said, list[Work])
    return [replace(work, peak_bytes=peak) for work in works[1:]]


def trl_to(way: TrlWay, port: int, goal: Goal) -> ToTarget:
    command = [
        *way.arguments(),
        *("--port", str(port), "--steps", str(goal.steps), "--every", str(goal.every)),
        *("--target", str(goal.reward), "--limit", str(goal.limit_s)),
    ]
    said, _ = child(
        "benchmarks.engine.trl_side", command, way.threads, 3 * goal.limit_s + RUN_LIMIT_S
    )
    return msgspec.convert(said, ToTarget)


def child(
    module: str, arguments: list[str], threads: int = 1, limit_s: float = RUN_LIMIT_S
) -> tuple[Any, int]:
    """The JSON of a program's last line, and its peak of resident memory in bytes."""
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": str(threads),
        "TOKENIZERS_PARALLELISM": "false",
        "TRL_EXPERIMENTAL_SILENCE": "1",
    }
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", module, *arguments],
            stdout=subprocess.PIPE,
            stderr=errors,
            env=environment,
            text=True,
        )
        clock = threading.Timer(limit_s, process.kill)
        clock.start()
        try:
            assert process.stdout is not None
            lines = process.stdout.read().splitlines()
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        finally:
            over = not clock.is_alive()
            clock.cancel()
            if process.returncode is None:
                process.kill()
        if over:
            raise Failed(f"{module} took over {limit_s:.0f} s")
        if process.returncode:
            errors.seek(0)
            raise Failed(f"{module} failed: {errors.read().strip()[-2000:]}")
    return json.loads(lines[-1]), usage.ru_maxrss * 1024
