"""What the viewers of one state of a job share: each process of the web server makes it once.

A committed step never changes, so what is made of steps holds until the next one. Twenty-five
people who watch a job ask for the same points within the same second.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")

MOST_KEPT = 32
"""A long job's points take about 1 MB."""
State = tuple[str, int, int]
"""A run, the epoch of who holds it, and its newest step."""


@dataclass
class _Made:
    """A value that one thread makes while the others wait for it."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    is_there: bool = False
    value: Any = None


_before: OrderedDict[Hashable, Any] = OrderedDict()
"""What grows, by the run and all but its newest step."""
_kept: OrderedDict[Hashable, _Made] = OrderedDict()
_guard = threading.Lock()


def shared(key: Hashable, make: Callable[[], T]) -> T:
    """What `make` gives for this key; nobody may change it. An error is raised and not kept."""
    with _guard:
        made = _kept.setdefault(key, _Made())
        _kept.move_to_end(key)
        if len(_kept) > MOST_KEPT:
            _kept.popitem(last=False)
    with made.lock:
        if not made.is_there:
            made.value = make()
            made.is_there = True
        value: T = made.value
        return value


def growing(state: State, what: tuple[Hashable, ...], make: Callable[[T | None, int], T]) -> T:
    """As `shared`, of a run's steps: `make` is told what it gave for an earlier state, and the
    newest step. What it gave may be of a later one, where somebody still sees an earlier one."""
    # Whoever takes the run over begins another epoch, and with it everything is read anew.
    key = (*state[:2], *what)

    def made() -> T:
        value = make(_before.get(key), state[2])
        with _guard:
            _before[key] = value
            _before.move_to_end(key)
            if len(_before) > MOST_KEPT:
                _before.popitem(last=False)
        return value

    return shared((*state, *what), made)
