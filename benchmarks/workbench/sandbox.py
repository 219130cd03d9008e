"""The sandbox: how many gradings a second, one forked child each, and how long a start takes.

Two servers, as two organisations or two engines have them, each asked by a thread of its own: what
two cores can do. The grader uses numpy and rapidfuzz. A start is that of a whole sandbox, from
nothing to a server that has passed its own test, in a process that has started one before.
"""

from __future__ import annotations

import statistics
import time
from concurrent.futures import ThreadPoolExecutor

from graders.sandbox.client import PythonSandbox

SERVERS = 2
THREADS = 4
GRADINGS = 400
ROUNDS = 5
STARTS = 40
SOURCE = """
import numpy as np
from rapidfuzz import fuzz


def grade(sample, item):
    closeness = fuzz.ratio(sample["output_text"], item["reference_answer"]) / 100
    return float(np.clip(closeness, 0.0, 1.0))
"""
SAMPLE = {"output_text": "The refund of 12.50 euros was sent to the customer on Tuesday."}
ITEM = {"reference_answer": "A refund of 12.50 euros was sent on Tuesday."}


def measure() -> dict[str, float]:
    """The best of the rounds, since whatever else runs only takes from it; and the late starts."""
    return {
        "sandbox_per_s": round(max(_rates()), 1),
        "sandbox_start_ms_p95": round(statistics.quantiles(_starts(), n=20)[-1], 1),
    }


def _rates() -> list[float]:
    sandboxes = [PythonSandbox(concurrency=THREADS) for _ in range(SERVERS)]
    try:
        for sandbox in sandboxes:
            _grade(sandbox)
        return [_rate(sandboxes) for _ in range(ROUNDS)]
    finally:
        for sandbox in sandboxes:
            sandbox.close()


def _rate(sandboxes: list[PythonSandbox]) -> float:
    started = time.perf_counter()
    with ThreadPoolExecutor(THREADS) as threads:
        list(threads.map(_grade, (sandboxes[n % SERVERS] for n in range(GRADINGS))))
    return GRADINGS / (time.perf_counter() - started)


def _grade(sandbox: PythonSandbox) -> None:
    grading = sandbox.run(SOURCE, SAMPLE, ITEM)
    if grading.error is not None:
        raise RuntimeError(grading.error.message)


def _starts() -> list[float]:
    taken = []
    for _ in range(STARTS):
        started = time.perf_counter()
        with PythonSandbox() as sandbox:
            sandbox.start()
            taken.append((time.perf_counter() - started) * 1000)
    return taken
