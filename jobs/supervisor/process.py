"""The engine as a child process in a session of its own, and what identifies a process group."""

from __future__ import annotations

import os
import queue
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO

import msgspec
from django.conf import settings

from jobs.engine import events, spec

SECRET_VARIABLES = frozenset(
    {
        "BROKER_URL",
        "DATABASE_URL",
        "HONE_OWNER_PASSWORD",
        "HONE_SECRET_KEY",
        "POSTGRES_PASSWORD",
        "SECRETS_KEYS",
    }
)
"""The engine needs none of these."""

LOG_NAME = "engine.log"
LOG_LIMIT = 4 * 1024 * 1024
QUEUE_LINES = 256


def engine_command() -> list[str]:
    """What starts the engine, once or with torchrun's help in as many processes as a job may use.

    `HONE_ENGINE_COMMAND` puts another program in its place.
    """
    chosen = os.environ.get("HONE_ENGINE_COMMAND")
    if chosen:
        return shlex.split(chosen)
    processes = settings.ENGINE_PROCESSES
    if processes == 1:
        return [sys.executable, "-m", "jobs.engine"]
    spread = ["torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    return [sys.executable, "-m", *spread, "-m", "jobs.engine"]


def host_identity() -> str:
    """This machine, this boot and this process namespace: where a process id means something."""
    parts = [socket.gethostname()]
    with suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip()[:8])
    with suppress(OSError):
        parts.append(os.readlink("/proc/self/ns/pid").strip("pid:[]"))
    return "/".join(parts)[:200]


def process_start(pid: int) -> str:
    """When the process started, in the kernel's ticks; empty where it is gone or unknown."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    state, *rest = stat.rpartition(")")[2].split()
    return "" if state == "Z" else rest[18]


def kill_stale_group(pgid: int | None, start: str, *, wait_s: float = 5.0) -> bool:
    """Kill the process group of an engine whose leader is still the one that was written down."""
    if not pgid or not start or process_start(pgid) != start:
        return False
    with suppress(ProcessLookupError):
        os.killpg(pgid, signal.SIGKILL)
    deadline = time.monotonic() + wait_s
    while process_start(pgid) == start and time.monotonic() < deadline:
        time.sleep(0.02)
    return True


def last_lines(log: Path, count: int = 100) -> str:
    """The end of an engine's log; empty where there is none."""
    with suppress(OSError), log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 256 * 1024))
        return "\n".join(file.read().decode("utf-8", "replace").splitlines()[-count:])
    return ""


class EngineProcess:
    """A running engine. Its events come out of `next_event`; its log goes to a file."""

    def __init__(self, handshake: spec.Handshake, log: Path) -> None:
        self._log_path = log
        self._decoder = msgspec.json.Decoder(events.AnyEvent)
        self._events: queue.Queue[events.Event | None] = queue.Queue(QUEUE_LINES)
        self._closed = threading.Event()
        self.garbage = ""
        if log.exists() and log.stat().st_size > LOG_LIMIT:
            log.unlink()
        environment = {k: v for k, v in os.environ.items() if k not in SECRET_VARIABLES}
        # Threads that spin for work make a shared machine many times slower.
        environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        with log.open("ab") as log_file:
            self._process = subprocess.Popen(
                engine_command(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log_file,
                start_new_session=True,
                env=environment,
            )
        self.pid = self._process.pid
        self.start = process_start(self.pid)
        self.send(handshake)
        assert self._process.stdout is not None
        self._reader = threading.Thread(
            target=self._read, args=(self._process.stdout,), name="engine-events", daemon=True
        )
        self._reader.start()

    def send(self, message: spec.Handshake | spec.Control) -> None:
        """Write one line to the engine; an engine that is gone is noticed elsewhere."""
        assert self._process.stdin is not None
        # Another thread may kill the engine meanwhile, which closes the pipe: a ValueError.
        with suppress(BrokenPipeError, ValueError):
            self._process.stdin.write(msgspec.json.encode(message) + b"\n")
            self._process.stdin.flush()

    def next_event(self, timeout: float) -> events.Event | None:
        """The next event; None at the end of the stream. Raises `queue.Empty` after `timeout`."""
        return self._events.get(timeout=timeout)

    def kill(self) -> int:
        """End the whole group now; the exit status of the leader."""
        # The leader is not reaped before the wait below, so its id cannot be another's.
        if self._process.returncode is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
        self._closed.set()
        status = self._process.wait()
        with suppress(BrokenPipeError):
            if self._process.stdin is not None:
                self._process.stdin.close()
        return status

    def last_lines(self) -> str:
        """The end of the engine's log."""
        return last_lines(self._log_path)

    def _read(self, stream: IO[bytes]) -> None:
        for event in self._decoded(stream):
            self._put(event)
        self._put(None)

    def _decoded(self, stream: IO[bytes]) -> Iterator[events.Event]:
        for line in stream:
            try:
                yield self._decoder.decode(line)
            except msgspec.MsgspecError as error:
                if line.endswith(b"\n"):
                    self.garbage = f"{error}: {line[:200].decode('utf-8', 'replace')}"
                return

    def _put(self, event: events.Event | None) -> None:
        while not self._closed.is_set():
            with suppress(queue.Full):
                self._events.put(event, timeout=0.2)
                return
