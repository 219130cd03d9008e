"""What somebody outside the sandbox can see of an attack: everything that must stay as it was."""

from __future__ import annotations

import json
import os
import select
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SECRET = "s3cret-of-another-team"
IPC_KEY = 0x5EED
LIBRARY = Path(json.__file__).parent


def processes_below(pid: int) -> set[int]:
    parents: dict[int, int] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(folder.name)] = int((folder / "stat").read_text().rsplit(")")[1].split()[1])
        except OSError:
            continue
    below, found = {pid}, set[int]()
    while below:
        below = {child for child, parent in parents.items() if parent in below}
        found |= below
    return found


def _ipc() -> list[str]:
    tables = Path("/proc/sysvipc").glob("*")
    return [line for table in tables for line in table.read_text().splitlines()]


def _names(folder: str | Path) -> set[str]:
    return {name for name in os.listdir(folder) if "left-behind" in name}


def _stat(path: Path) -> tuple[int, ...]:
    seen = path.stat()
    return seen.st_mode, seen.st_uid, seen.st_nlink, seen.st_size, seen.st_mtime_ns


@dataclass
class Outside:
    """Listeners that nobody may reach, a file that nobody may read, and the machine's state."""

    folder: Path
    listeners: dict[str, socket.socket] = field(default_factory=dict)
    before: dict[str, Any] = field(default_factory=dict)

    @property
    def secret(self) -> Path:
        return self.folder / "secret"

    def item(self) -> dict[str, Any]:
        """What an attack is told, so that it need not guess."""
        return {
            "secret": str(self.secret),
            "owner": os.getpid(),
            "tcp": self.listeners["tcp"].getsockname()[1],
            "udp": self.listeners["udp"].getsockname()[1],
            "unix": self.listeners["unix"].getsockname(),
            "abstract": self.listeners["abstract"].getsockname()[1:].decode(),
        }

    def state(self) -> dict[str, Any]:
        """Everything that an attack might have changed."""
        return {
            "secret": (_stat(self.secret), self.secret.read_text()),
            "library": sorted((path.name, _stat(path)) for path in LIBRARY.iterdir()),
            "files": [_names(place) for place in ("/", "/tmp", "/dev", "/dev/shm", os.getcwd())],
            "ipc": [line for line in _ipc() if line.split()[0] == str(IPC_KEY)],
            "mounts": Path("/proc/self/mounts").read_text(),
            "name": socket.gethostname(),
            "priority": os.getpriority(os.PRIO_PROCESS, 0),
            "processes": processes_below(os.getpid()),
        }

    def reached(self) -> list[str]:
        """The listeners that somebody spoke to."""
        ready, _, _ = select.select(list(self.listeners.values()), [], [], 0)
        return [name for name, listener in self.listeners.items() if listener in ready]

    def assert_untouched(self) -> None:
        assert self.reached() == []
        until = time.monotonic() + 3
        # A process that was killed may need a moment to be gone.
        while (after := self.state()) != self.before and time.monotonic() < until:
            time.sleep(0.01)
        assert {name: after[name] for name in after if after[name] != self.before[name]} == {}


@contextmanager
def watching(folder: Path) -> Iterator[Outside]:
    with ExitStack() as opened:
        unix = folder / "socket"
        listeners = {
            "tcp": socket.create_server(("127.0.0.1", 0)),
            "udp": socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
            "unix": socket.socket(socket.AF_UNIX),
            "abstract": socket.socket(socket.AF_UNIX),
        }
        for listener in listeners.values():
            opened.enter_context(listener)
        listeners["udp"].bind(("127.0.0.1", 0))
        listeners["unix"].bind(str(unix))
        unix.chmod(0o777)
        listeners["abstract"].bind(f"\0hone-test-{os.getpid()}")
        for name in ("unix", "abstract"):
            listeners[name].listen()
        outside = Outside(folder, listeners)
        outside.secret.write_text(SECRET)
        outside.secret.chmod(0o644)
        outside.before = outside.state()
        yield outside
