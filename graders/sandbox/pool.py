"""Warm sandboxes of one process, one for each organisation: no two ever share a server."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from graders.sandbox.client import PythonSandbox

MOST = 8
IDLE_S = 600.0


@dataclass
class _Kept:
    sandbox: PythonSandbox
    users: int = 0
    used_at: float = field(default_factory=time.monotonic)


class SandboxPool:
    """Keeps at most `most` idle sandboxes warm; who was idle for `idle_s` makes room by itself."""

    def __init__(
        self,
        make: Callable[[], PythonSandbox],
        *,
        most: int = MOST,
        idle_s: float = IDLE_S,
    ) -> None:
        self._make = make
        self._most = most
        self._idle_s = idle_s
        self._lock = threading.Lock()
        self._kept: dict[str, _Kept] = {}

    @contextmanager
    def of(self, organisation_id: str) -> Iterator[PythonSandbox]:
        """The sandbox of one organisation; it stays while somebody uses it."""
        with self._lock:
            kept = self._kept.setdefault(organisation_id, _Kept(self._make()))
            kept.users += 1
            kept.used_at = time.monotonic()
            superfluous = self._superfluous()
        for sandbox in superfluous:
            sandbox.close()
        try:
            yield kept.sandbox
        finally:
            with self._lock:
                kept.users -= 1
                kept.used_at = time.monotonic()

    def close(self) -> None:
        """End all servers of this process; whoever comes later gets a new one."""
        with self._lock:
            kept, self._kept = self._kept, {}
        for each in kept.values():
            each.sandbox.close()

    def _superfluous(self) -> list[PythonSandbox]:
        """Takes out the idle ones that are too many or too old, the longest idle first."""
        idle = sorted(
            (name for name, kept in self._kept.items() if kept.users == 0),
            key=lambda name: self._kept[name].used_at,
        )
        too_many = max(0, len(self._kept) - self._most)
        oldest = time.monotonic() - self._idle_s
        out = [
            name
            for place, name in enumerate(idle)
            if place < too_many or self._kept[name].used_at < oldest
        ]
        return [self._kept.pop(name).sandbox for name in out]
