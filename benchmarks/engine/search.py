"""The fastest configuration that TRL has on this machine, found by trying."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass, replace

from benchmarks.engine import world
from benchmarks.engine.children import Failed, TrlWay, trl_steps
from benchmarks.engine.tool_server import serving

TRY_LIMIT_S = 180.0
SMALL_BATCH = 16


@dataclass(frozen=True)
class Trial:
    """`step_s` None: it was stopped at the limit."""

    latency_ms: int
    way: TrlWay
    step_s: float | None
    peak_bytes: int | None = None


def fastest(steps: int, say: Callable[[str], None]) -> tuple[TrlWay, list[Trial]]:
    """One setting after the other, each at what was best so far.

    Threads and batches with tools that answer at once, because they change the arithmetic; kinds
    of tools where tools take time.
    """
    trials: list[Trial] = []

    def better(latency_ms: int, first: TrlWay, second: TrlWay) -> TrlWay:
        return min((first, second), key=lambda way: seconds(latency_ms, way))

    def seconds(latency_ms: int, way: TrlWay) -> float:
        known = [t for t in trials if (t.latency_ms, t.way) == (latency_ms, way)]
        if not known:
            say(f"TRL, {latency_ms} ms tools: {way}")
            known = [_try(latency_ms, way, steps)]
            trials.extend(known)
            say("too slow" if known[0].step_s is None else f"{known[0].step_s:.2f} s a step")
        return known[0].step_s or float("inf")

    best = TrlWay(threads=1, batch=SMALL_BATCH)
    best = better(0, best, replace(best, threads=2))
    best = better(0, best, replace(best, batch=world.ROLLOUTS))
    return better(50, best, replace(best, tools="async")), trials


def _try(latency_ms: int, way: TrlWay, steps: int) -> Trial:
    try:
        with serving(latency_ms) as port:
            works = trl_steps(way, port, steps=steps, limit_s=TRY_LIMIT_S)
    except Failed as failure:
        if "took over" not in str(failure):
            raise
        return Trial(latency_ms, way, None)
    return Trial(
        latency_ms, way, statistics.median(work.step_s for work in works), works[0].peak_bytes
    )
