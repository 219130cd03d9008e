"""Programs of their own for tests that kill them: workers, sweepers, and their engines."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from jobs.models import Run

ROOT = Path(__file__).parents[2]

Program = subprocess.Popen[bytes]


class Programs:
    """Starts programs in sessions of their own; `log` holds what all of them say."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self._folder = folder
        self._environment = environment
        self._started: list[Program] = []
        self.log = folder / "processes.log"

    def start(self, *command: str) -> Program:
        # Read now: what a test has set before this holds for the program.
        environment = os.environ | self._environment | {"HONE_DATA_DIR": str(self._folder)}
        with self.log.open("ab") as log:
            program = subprocess.Popen(
                [sys.executable, *command],
                env=environment,
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._started.append(program)
        return program

    def plain_worker(self, run: Run) -> Program:
        """Works on one run, without a broker."""
        return self.start("-m", "tests.jobs.plain_worker", run.pk)

    def celery_worker(self) -> Program:
        """A training worker as `make up` and the compose file start it."""
        return self.start(
            *("-m", "celery", "-A", "hone", "worker", "--queues", "train", "--concurrency", "1"),
            *("--without-gossip", "--without-mingle", "--loglevel", "WARNING"),
        )

    def sweeper(self) -> Program:
        return self.start(str(ROOT / "manage.py"), "sweep")

    def kill(self, program: Program) -> None:
        """As the kernel does when memory is out: the whole group, at once."""
        kill_group(program.pid)
        program.wait()

    def kill_all(self) -> None:
        for program in self._started:
            self.kill(program)

    def wait_for(self, condition: Callable[[], bool], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, self.log.read_text()[-4000:]
            time.sleep(0.05)

    def engines(self) -> list[int]:
        """The engines that are alive, whoever started them for this test."""
        ours = f"HONE_DATA_DIR={self._folder}".encode()
        return [
            int(process.name)
            for process in Path("/proc").iterdir()
            if process.name.isdigit()
            and b"jobs.engine" in _bytes(process / "cmdline").split(b"\0")
            and ours in _bytes(process / "environ").split(b"\0")
        ]


def _bytes(path: Path) -> bytes:
    with suppress(OSError):
        return path.read_bytes()
    return b""


def kill_group(pgid: int | None) -> None:
    if pgid:
        with suppress(ProcessLookupError):
            os.killpg(pgid, signal.SIGKILL)


def state(run: Run) -> Run:
    """The run's row as it is now."""
    return Run.objects.get(pk=run.pk)
