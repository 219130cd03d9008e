"""The web server as an installation on PostgreSQL runs it, and what it spends."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

WORKERS, THREADS = 2, 32
"""As docker-compose.yml starts the service `web`; a test compares them."""
OPTIONS = ("--workers", str(WORKERS), "--threads", str(THREADS), "--no-control-socket")
START_S = 60.0
NS = 1e9


@dataclass(frozen=True)
class Spent:
    """Processor seconds of the web workers, and of the database's processes for them."""

    web: float
    database: float

    def __sub__(self, before: Self) -> Spent:
        return Spent(self.web - before.web, max(0.0, self.database - before.database))


@dataclass(frozen=True)
class Server:
    """The workers of the web server, and the name of its database, on this machine."""

    port: int
    pid: int
    database: str

    def spent(self) -> Spent:
        """The database's part is 0 where its server runs elsewhere."""
        workers = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return Spent(
            sum(map(_processor_s, workers)), sum(map(_processor_s, self._database_processes()))
        )

    def _database_processes(self) -> list[str]:
        """PostgreSQL names its processes `postgres: role database client state`."""
        found = []
        for entry in os.scandir("/proc"):
            if entry.name.isdigit():
                words = _read(f"/proc/{entry.name}/cmdline").replace("\0", " ").split()
                if words[:1] == ["postgres:"] and self.database in words:
                    found.append(entry.name)
        return found


def _processor_s(pid: str) -> float:
    """Of all threads of a process, in nanoseconds by the kernel's count."""
    try:
        tasks = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return 0.0
    texts = [_read(f"/proc/{pid}/task/{task}/schedstat") for task in tasks]
    return sum(int(text.split()[0]) for text in texts if text) / NS


def _read(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""


@contextmanager
def serving(environment: dict[str, str]) -> Iterator[Server]:
    """The pages, on a free port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "gunicorn", "hone.wsgi", "--bind", f"127.0.0.1:{port}"]
    process = subprocess.Popen([*command, *OPTIONS, "--log-level", "warning"], env=environment)
    try:
        _wait_for(port, process)
        database = urlsplit(environment["DATABASE_URL"]).path.lstrip("/")
        yield Server(port, process.pid, database)
    finally:
        process.terminate()
        process.wait(START_S)


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    ends = time.monotonic() + START_S
    while time.monotonic() < ends and process.poll() is None:
        try:
            connection = HTTPConnection("127.0.0.1", port, timeout=START_S)
            connection.request("GET", "/healthz")
            if connection.getresponse().status == 200:
                return
        except (OSError, HTTPException):
            pass
        time.sleep(0.2)
    raise SystemExit("the web server did not start")
