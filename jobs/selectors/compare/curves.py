"""The curves of several jobs on one axis, at most some hundred points each."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import F, Max, Sum

from jobs.models import Job, JobStep, Usage
from jobs.selectors.compare.sides import Side
from jobs.selectors.rollup import MOST_POINTS
from jobs.selectors.series import job_series

Value = float | None
GRID = 200
"""Places on an axis other than the step."""


@dataclass(frozen=True)
class Curve:
    """One job: its columns, and where on each axis its points lie."""

    columns: dict[str, Any]
    axes: dict[str, tuple[float, ...]]

    def values(self, name: str) -> Sequence[Value]:
        found: Sequence[Value] = self.columns.get(name) or ()
        return found


def curve(side: Side) -> Curve:
    """The points of a job up to the step that was asked for."""
    columns = _columns(side.job)
    steps = columns["step"]
    shown = len(steps) if side.step is None else bisect_right(steps, side.step)
    kept = tuple(steps[:shown])
    tokens, seconds = _consumed(side.run_id, kept)
    columns = {name: column[:shown] for name, column in columns.items() if isinstance(column, list)}
    return Curve(
        columns=columns,
        axes={
            "step": tuple(float(step) for step in kept),
            "tokens": tokens,
            "wall": _elapsed(side, kept),
            "hours": seconds,
        },
    )


def _columns(job: Job) -> dict[str, Any]:
    """Where the points come from: the columns of the job's own charts."""
    return job_series(job)


def _consumed(run_id: str, steps: Sequence[int]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Tokens trained and seconds worked up to each step, from sums over as many spans."""
    if not steps:
        return (), ()
    size = max(1, -(-(steps[-1] + 1) // MOST_POINTS))
    rows = (
        Usage.objects.filter(run_id=run_id, step__lte=steps[-1])
        .annotate(span=F("step") / size)
        .values("span")
        .order_by("span")
        .annotate(last=Max("step"), tokens=Sum("trained_tokens"), worked=Sum("seconds"))
    )
    places, tokens, seconds = [-1.0], [0.0], [0.0]
    for row in rows:
        places.append(float(row["last"]))
        tokens.append(tokens[-1] + row["tokens"])
        seconds.append(seconds[-1] + row["worked"])
    return _read(places, tokens, steps), _read(places, seconds, steps)


def _read(
    places: Sequence[float], values: Sequence[float], steps: Sequence[int]
) -> tuple[float, ...]:
    """A running total at each step, straight between the places where it is known."""
    return tuple(_between(places, values, step) for step in steps)


def _between(places: Sequence[float], values: Sequence[float], step: float) -> float:
    at = bisect_right(places, step) - 1
    if at + 1 >= len(places):
        return values[-1]
    share = (step - places[at]) / (places[at + 1] - places[at])
    return values[at] + share * (values[at + 1] - values[at])


def _elapsed(side: Side, steps: Sequence[int]) -> tuple[float, ...]:
    """Seconds from the job's start to each step's end, pauses and waiting included."""
    made = dict(
        JobStep.objects.filter(run_id=side.run_id, step__in=steps).values_list("step", "created_at")
    )
    start = side.job.started_at or side.job.created_at
    return tuple(max(0.0, (made[step] - start).total_seconds()) for step in steps)


@dataclass(frozen=True)
class Aligned:
    """Several jobs' values of one figure at the same places."""

    places: tuple[int, ...]
    values: tuple[tuple[Value, ...], ...]


def aligned(curves: Sequence[Curve], name: str, axis: str) -> Aligned:
    """One column of each job on a common axis; each place holds the last value up to it.

    Few steps are places of their own. None where a job has no value between two places.
    """
    ends = [curve.axes[axis][-1] for curve in curves if curve.axes[axis]]
    if not ends:
        return Aligned((), tuple(() for _ in curves))
    if axis == "step" and max(ends) < MOST_POINTS:
        places = tuple(range(int(max(ends)) + 1))
    else:
        places = tuple(dict.fromkeys(round(max(ends) * at / GRID) for at in range(GRID + 1)))
    return Aligned(places, tuple(_placed(each, name, axis, places) for each in curves))


def _placed(curve: Curve, name: str, axis: str, places: Sequence[int]) -> tuple[Value, ...]:
    found: list[Value] = [None] * len(places)
    for x, value in zip(curve.axes[axis], curve.values(name), strict=False):
        if value is not None:
            found[_at_or_after(places, x)] = value
    return tuple(found)


def _at_or_after(places: Sequence[int], x: float) -> int:
    at = bisect_right(places, x)
    return at - 1 if at and places[at - 1] == x else min(at, len(places) - 1)
