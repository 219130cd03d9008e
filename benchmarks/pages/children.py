"""Work in a process of its own until it is told to stop: its result comes back."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, Generic, TypeVar

_Result = TypeVar("_Result")
SPAWN = multiprocessing.get_context("spawn")


@dataclass
class Child(Generic[_Result]):
    """A running child; `result` ends it."""

    pipe: Connection

    def result(self) -> _Result:
        self.pipe.send("stop")
        found: _Result = self.pipe.recv()
        return found


@contextmanager
def child(work: Callable[[threading.Event], _Result]) -> Iterator[Child[_Result]]:
    """`work` gets the event that ends it; it and its result are pickled."""
    ours, theirs = SPAWN.Pipe()
    process = SPAWN.Process(target=_child, args=(work, theirs), daemon=True)
    process.start()
    theirs.close()
    try:
        yield Child(ours)
    finally:
        process.kill()
        process.join()


def _child(work: Callable[[threading.Event], Any], pipe: Any) -> None:
    stop = threading.Event()

    def wait() -> None:
        pipe.recv()
        stop.set()

    threading.Thread(target=wait, daemon=True).start()
    pipe.send(work(stop))
