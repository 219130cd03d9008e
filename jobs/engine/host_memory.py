"""The memory of this machine, or less where a container or a service may use less. Torch-free."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath


@dataclass(frozen=True, slots=True)
class HostMemory:
    """Bytes. `free`: what a new program could take."""

    total: int
    free: int


@dataclass(frozen=True, slots=True)
class _Files:
    """What a version of control groups calls its files."""

    root: str
    limit: str
    used: str
    cache: str
    """The line of memory.stat that says what of `used` is given back when asked for."""


_V2 = _Files("sys/fs/cgroup", "memory.max", "memory.current", "inactive_file")
_V1 = _Files(
    "sys/fs/cgroup/memory",
    "memory.limit_in_bytes",
    "memory.usage_in_bytes",
    "total_inactive_file",
)


def host_memory(root: Path = Path("/")) -> HostMemory:
    """The tightest of the machine and the control groups that this process is in."""
    memories = [_machine(root), *_groups(root)]
    return HostMemory(min(m.total for m in memories), min(m.free for m in memories))


def _machine(root: Path) -> HostMemory:
    lines = _text(root / "proc/meminfo").splitlines()
    found = {name: rest.split() for name, _, rest in (line.partition(":") for line in lines)}
    if "MemTotal" in found and "MemAvailable" in found:
        return HostMemory(
            *(int(found[name][0]) * 1024 for name in ("MemTotal", "MemAvailable")),
        )
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return HostMemory(whole, whole)


def _groups(root: Path) -> Iterator[HostMemory]:
    for line in _text(root / "proc/self/cgroup").splitlines():
        number, controllers, path = line.split(":", 2)
        if number == "0" or "memory" in controllers.split(","):
            files = _V2 if number == "0" else _V1
            mounted = root / files.root
            # A container sees its own group as the root, under whatever path it has outside.
            inside = PurePosixPath(path.lstrip("/"))
            for group in (inside, *inside.parents):
                yield from _group(mounted / group, files)


def _group(folder: Path, files: _Files) -> Iterator[HostMemory]:
    limit, used = _text(folder / files.limit).strip(), _text(folder / files.used).strip()
    if not (limit.isdigit() and used.isdigit()):
        return
    pairs = (line.partition(" ") for line in _text(folder / "memory.stat").splitlines())
    cache = next((int(value) for name, _, value in pairs if name == files.cache), 0)
    yield HostMemory(int(limit), max(0, int(limit) - int(used) + cache))


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
