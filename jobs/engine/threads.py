"""How many threads the arithmetic of one run gets."""

from __future__ import annotations

import os
from collections.abc import Mapping

SMALL_MODEL = 10_000_000
"""Parameters. Below it one operation takes microseconds, and a second thread mostly waits:
on a busy machine two threads made the rollouts of a model of a million parameters nine times
slower."""


def available_cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def thread_count(
    parameters: int, *, deterministic: bool, cores: int, environment: Mapping[str, str]
) -> int:
    """What the operator set, or one for small models, or every core.

    A deterministic run has one: the order of a sum depends on the number of threads.
    """
    wanted = environment.get("OMP_NUM_THREADS", "")
    if deterministic:
        return 1
    if wanted.isdigit() and int(wanted) > 0:
        return int(wanted)
    return 1 if parameters < SMALL_MODEL else cores
