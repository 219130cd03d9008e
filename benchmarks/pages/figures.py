"""What came out, as a table and as one JSON object."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from benchmarks.pages.server import Spent
from benchmarks.pages.viewers import Seen
from benchmarks.pages.visitors import CHART, LIST, LONG_OPEN, OPEN, PAGE, Visited

MS = 1000
SETTLING_S = 6.0
"""A step that was committed this shortly before the end need not be seen any more."""
WANTED = {
    "page_ms_p95": 200,
    "trajectory_list_ms_p95": 150,
    "trajectory_open_ms_p95": 500,
    "chart_100k_ms_p95": 300,
    "new_point_visible_s_p95": 2,
    "errors": 0,
}
FAMILIES = {
    "page_ms_p95": (PAGE, LIST, OPEN),
    "trajectory_list_ms_p95": (LIST,),
    "trajectory_open_ms_p95": (OPEN, LONG_OPEN),
    "chart_100k_ms_p95": (CHART,),
}
"""Kinds of pages behind each figure. The trajectory of 1 MB has a budget of its own."""


@dataclass(frozen=True)
class Run:
    """One phase: what visitors found; with viewers, what these saw and what was committed."""

    visited: Visited
    seen: Seen
    committed: list[tuple[int, float, float]]
    ended: float


def p95(values: Sequence[float]) -> float:
    """The smallest value that at least 95 % do not exceed; not a number without any."""
    ordered = sorted(values)
    return ordered[-(-95 * len(ordered) // 100) - 1] if ordered else float("nan")


def p50(values: Sequence[float]) -> float:
    ordered = sorted(values)
    return ordered[(len(ordered) - 1) // 2] if ordered else float("nan")


def visible(run: Run) -> tuple[list[float], int]:
    """Seconds from each commit to each viewer that was there, and how many never saw it."""
    waits, never = [], 0
    for steps in run.seen.steps.values():
        for step, at, _ in run.committed:
            if at < steps[0][1] or at > run.ended - SETTLING_S:
                continue
            saw = next((when for newest, when in steps if newest >= step), None)
            never += saw is None
            waits += [] if saw is None else [max(0.0, saw - at)]
    return waits, never


def summary(run: Run) -> dict[str, float | None]:
    """The figures of the last line; None where nothing was measured."""
    found: dict[str, float | None] = {}
    for name, families in FAMILIES.items():
        kinds = [kind for kind, family in run.visited.families.items() if family in families]
        seconds = [each for kind in kinds for each in run.visited.seconds[kind]]
        found[name] = round(MS * p95(seconds), 1)
    waits, never = visible(run)
    found["new_point_visible_s_p95"] = round(p95(waits), 2)
    found = {name: value if value == value else None for name, value in found.items()}
    found["errors"] = len(run.visited.errors) + len(run.seen.errors) + never
    return found


def table(idle: Run, load: Run) -> Iterator[str]:
    """A line a kind of page, then a line a kind of what viewers fetch."""
    times = f"{'n':>5}{'p50':>7}{'p95':>7}"
    yield f"{'in ms':<36}{'':>6}{'alone':>19}{'spent':>14}   {'under load':>19}"
    yield f"{'page':<36}{'kB':>6}{times}{'web':>7}{'db':>7}   {times}"
    families = idle.visited.families | load.visited.families
    sizes = idle.visited.bytes | load.visited.bytes
    for kind in sorted(families, key=lambda each: (families[each], each)):
        quiet, busy = (each.visited.seconds.get(kind, []) for each in (idle, load))
        spent = idle.visited.spent.get(kind, [])
        yield (f"{kind:<36}{sizes[kind] / MS:>6.0f}{_times(quiet)}{_cost(spent)}   {_times(busy)}")
    for kind, busy in sorted(load.seen.kinds.items()):
        yield f"{'viewers: ' + kind:<36}{'':>39}   {_times(busy)}"
    commits = [took for _, _, took in load.committed]
    yield f"{'a step is committed':<36}{'':>39}   {_times(commits)}"


def judged(found: dict[str, float | None]) -> Iterator[str]:
    """Each figure beside what is wanted of it."""
    for name, value in found.items():
        held = value is not None and value <= WANTED[name]
        shown = "–" if value is None else f"{value:g}"
        verdict = "held" if held else "NOT held"
        yield f"{name:<28}{shown:>10}   ≤ {WANTED[name]:g} wanted: {verdict}"


def _times(seconds: Sequence[float]) -> str:
    if not seconds:
        return f"{0:>5}{'–':>7}{'–':>7}"
    return f"{len(seconds):>5}{MS * p50(seconds):>7.0f}{MS * p95(seconds):>7.0f}"


def _cost(spent: Iterable[Spent]) -> str:
    found = list(spent)
    if not found:
        return f"{'–':>7}{'–':>7}"
    web = sum(each.web for each in found) / len(found)
    database = sum(each.database for each in found) / len(found)
    return f"{MS * web:>7.1f}{MS * database:>7.1f}"
