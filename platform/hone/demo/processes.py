"""The processes of an installation on one machine, started and ended together."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from hone.core.errors import UserError

PATIENCE_S = 12.0
"""How long a process may take to end by itself before it is killed."""


@dataclass(frozen=True)
class Program:
    """One process to run; `stop_with` is the signal that makes it end soon and cleanly."""

    name: str
    command: Sequence[str]
    stop_with: signal.Signals = signal.SIGTERM


@dataclass
class ProcessGroup:
    """Runs programs as children of this process; each has a session and a log file of its own."""

    logs: Path
    environment: dict[str, str]
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    _programs: dict[str, Program] = field(default_factory=dict)

    def start(self, program: Program) -> None:
        """Start it; its output goes to `<logs>/<name>.log`."""
        self.logs.mkdir(parents=True, exist_ok=True)
        with (self.logs / f"{program.name}.log").open("ab") as log:
            self.running[program.name] = subprocess.Popen(
                list(program.command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self.environment,
                start_new_session=True,
            )
        self._programs[program.name] = program

    def fallen(self) -> str | None:
        """The name of a program that ended by itself, or None."""
        for name, process in self.running.items():
            if process.poll() is not None:
                return name
        return None

    def last_lines(self, name: str, count: int = 15) -> str:
        """The end of a program's log."""
        lines = (self.logs / f"{name}.log").read_text(errors="replace").splitlines()
        return "\n".join(lines[-count:])

    def stop(self) -> None:
        """Ask every program to end, and kill what has not after `PATIENCE_S`."""
        for name, process in self.running.items():
            _signal(process, self._programs[name].stop_with)
        deadline = time.monotonic() + PATIENCE_S
        for process in self.running.values():
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(0.1, deadline - time.monotonic()))
        for process in self.running.values():
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self.running.clear()


ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def process_group(logs: Path, environment: dict[str, str]) -> Iterator[ProcessGroup]:
    """A group that is stopped on leaving, whatever ends it; a signal raises KeyboardInterrupt."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in ENDINGS}
    group = ProcessGroup(logs, environment)
    try:
        yield group
    finally:
        for number in ENDINGS:
            signal.signal(number, signal.SIG_IGN)
        group.stop()
        for number, handler in before.items():
            signal.signal(number, handler)


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    if process.poll() is None:
        process.send_signal(number)


def require_free_port(port: int, purpose: str, remedy: str) -> None:
    """Refuse with a sentence where the port on 127.0.0.1 is taken."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise UserError(
                f"Port {port} on 127.0.0.1 is taken, and {purpose} needs one. {remedy}",
                code="port_taken",
            ) from error


def wait_for_port(port: int, *, seconds: float, alive: subprocess.Popen[bytes]) -> bool:
    """Whether something answers on the port before the time is over or the process ends."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and alive.poll() is None:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
        time.sleep(0.1)
    return False


def _celery(queue: str, concurrency: int) -> list[str]:
    return [
        sys.executable,
        *("-m", "celery", "-A", "hone", "worker", "--queues", queue),
        *("--concurrency", str(concurrency), "--hostname", f"{queue}@%h", "--loglevel", "INFO"),
        *("--without-gossip", "--without-mingle"),
    ]


def tool_server(port: int) -> Program:
    """The demo's tools, on a loopback port."""
    return Program("tool-server", [sys.executable, "-m", "hone.demo.server", "--port", str(port)])


def workers(manage: Path) -> list[Program]:
    """One worker for training, one for everything else, and the sweeper."""
    return [
        Program("worker-train", _celery("train", 1)),
        Program("worker", _celery("default", 2)),
        Program("sweeper", [sys.executable, str(manage), "sweep"]),
    ]


def web(port: int) -> Program:
    """The pages."""
    return Program(
        "web",
        [
            *(sys.executable, "-m", "gunicorn", "hone.wsgi", "--bind", f"127.0.0.1:{port}"),
            *("--threads", "32", "--no-control-socket", "--access-logfile", "-"),
        ],
    )
