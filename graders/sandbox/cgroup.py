"""Bounds what one sandbox takes with all its children together, where a cgroup may be made.

Version 2 before version 1; where neither works, the limits of each child are all there is. Only
below the cgroup of this process, or below the one that the operator gave in HONE_SANDBOX_CGROUP.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import itertools
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PREFIX = "hone-sandbox-"
PIDS = 64
_MEMORY_FILES = {2: "memory.max", 1: "memory.limit_in_bytes"}
_PATIENCE_S = 2.0
_BLANK = re.compile(r"[\s\\*?\[]")
"""What a shell would take for more than a path."""
_counter = itertools.count()


@dataclass(frozen=True)
class Home:
    """Where groups are made: `version` 2 with one folder, 1 with one for each controller, or 0."""

    version: int
    folders: tuple[Path, ...] = ()
    why: str = ""

    def __str__(self) -> str:
        if self.version == 0:
            return f"limits of each child alone ({self.why})"
        return f"cgroup v{self.version} (memory and processes) and limits of each child"


class Group:
    """The cgroup of one server: made empty, entered by `procs`, removed by `close`."""

    def __init__(self, home: Home, memory_bytes: int) -> None:
        name = f"{PREFIX}{os.getpid()}-{next(_counter)}"
        self._folders: list[Path] = []
        try:
            for folder in home.folders:
                made = folder / name
                made.mkdir()
                self._folders.append(made)
            self._limit(_MEMORY_FILES[home.version], memory_bytes)
            self._limit("pids.max", PIDS)
        except OSError:
            self.close()
            raise

    def _limit(self, name: str, value: int) -> None:
        """Each controller of version 1 has a folder of its own, with its own files alone."""
        path = next((folder / name for folder in self._folders if (folder / name).exists()), None)
        if path is None:
            raise OSError(errno.ENOTSUP, f"there is no {name}")
        path.write_text(str(value))

    @property
    def procs(self) -> list[str]:
        """The files to which a process writes 0 to enter."""
        return [str(folder / "cgroup.procs") for folder in self._folders]

    def close(self) -> None:
        """Remove it; its last process may need a moment to be gone."""
        until = time.monotonic() + _PATIENCE_S
        while self._folders and time.monotonic() < until:
            self._folders = [folder for folder in self._folders if not _removed(folder)]
            if self._folders:
                time.sleep(0.005)


def new_group(memory_bytes: int) -> Group | None:
    """A cgroup for one server, or None where none can be made."""
    found = home()
    try:
        return Group(found, memory_bytes) if found.version else None
    except OSError:
        return None


@functools.cache
def home() -> Home:
    """The best place there is; tried once a process."""
    reasons: list[str] = []
    for candidate in _candidates():
        if any(_BLANK.search(str(folder)) for folder in candidate.folders):
            reasons.append(f"v{candidate.version}: its path has blanks")
            continue
        try:
            _sweep(candidate)
            Group(candidate, 1 << 30).close()
        except OSError as error:
            reasons.append(f"v{candidate.version}: {error.strerror}")
        else:
            return candidate
    return Home(0, why=f"no cgroup may be made; {'; '.join(reasons) or 'none is mounted'}")


def _candidates() -> Iterator[Home]:
    own = dict(_own_groups())
    given = os.environ.get("HONE_SANDBOX_CGROUP")
    for unified in (Path(given) if given else None, own.get("")):
        if unified and {"memory", "pids"} <= _words(unified / "cgroup.controllers"):
            # Refused where they are on already by somebody else, or where processes are in it.
            with contextlib.suppress(OSError):
                (unified / "cgroup.subtree_control").write_text("+memory +pids")
            yield Home(2, (unified,))
    if "memory" in own and "pids" in own:
        yield Home(1, (own["memory"], own["pids"]))


def _own_groups() -> Iterator[tuple[str, Path]]:
    """Controller → the folder of this process's group; the empty name is version 2's."""
    mounts = _mounts()
    for line in _lines(Path("/proc/self/cgroup")):
        _, names, path = line.split(":", 2)
        for name in names.split(","):
            mount = mounts.get(name)
            if mount is None:
                continue
            # Inside a container the path may be the one that the host sees.
            inner = mount / path.lstrip("/")
            yield name, inner if inner.is_dir() else mount


def _mounts() -> dict[str, Path]:
    found: dict[str, Path] = {}
    for line in _lines(Path("/proc/self/mountinfo")):
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ", 2)
        place = Path(before.split(" ")[4])
        if kind == "cgroup2":
            found.setdefault("", place)
        elif kind == "cgroup":
            for name in options.split(","):
                found.setdefault(name, place)
    return found


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []


def _words(path: Path) -> set[str]:
    return {word for line in _lines(path) for word in line.split()}


def _removed(folder: Path) -> bool:
    try:
        folder.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _sweep(place: Home) -> None:
    """Remove what owners left that were killed."""
    for folder in place.folders:
        for left in folder.glob(f"{PREFIX}*-*"):
            owner = left.name.removeprefix(PREFIX).split("-")[0]
            if not Path(f"/proc/{owner}").exists():
                _removed(left)
