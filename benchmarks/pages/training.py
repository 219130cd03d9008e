"""A training engine beside the web server, as a worker on the same machine starts it, but at the
lowest priority: a job may take what the pages leave."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import msgspec

from benchmarks.engine import world
from benchmarks.engine.tool_server import serving

NICE = "19"
MANY = 10_000


@dataclass
class Training:
    """How far the engine came."""

    steps: int = 0
    last: str = ""
    """The name of the last event, such as `StepDone` or `Failed`."""

    def follow(self, stream: IO[bytes]) -> None:
        for line in stream:
            self.last = json.loads(line)["event"]
            self.steps += self.last == "StepDone"


@contextmanager
def training() -> Iterator[Training]:
    """The demo's model on the demo's tasks, with its tools in a process beside it."""
    found = Training()
    with serving(0) as port, world.handshake(port, steps=MANY) as handshake:
        command = ["nice", "-n", NICE, sys.executable, "-m", "jobs.engine"]
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=dict(os.environ),
            start_new_session=True,
        )
        _lowest(process.pid)
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(msgspec.json.encode(handshake) + b"\n")
            process.stdin.flush()
            reader = threading.Thread(target=found.follow, args=(process.stdout,), daemon=True)
            reader.start()
            yield found
        finally:
            process.kill()
            process.wait()


def _lowest(session: int) -> None:
    """Linux weighs sessions against each other before it looks at what is nice in one of them."""
    place = Path(f"/proc/{session}/autogroup")
    if place.exists():
        place.write_text(NICE)
