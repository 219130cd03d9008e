"""The curves of several jobs on one axis, at most some hundred points each."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Case, F, Max, Q, Sum, When

from jobs.models import JobStep, Usage
from jobs.selectors.compare.sides import Side
from jobs.selectors.rollup import MOST_POINTS
from jobs.selectors.series import columns_of, points_of

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


def curves_of(sides: Sequence[Side]) -> list[Curve]:
    """The points of each up to the step that was asked for; as many queries for six as for one."""
    found = points_of(list({side.job.pk: side.job for side in sides}.values()))
    columns = {pk: columns_of(*points) for pk, points in found.items()}
    shown = [_shown(columns[side.job.pk], side.step) for side in sides]
    runs: dict[str, tuple[int, ...]] = {}
    for side, each in zip(sides, shown, strict=True):
        runs[side.run_id] = max(runs.get(side.run_id, ()), tuple(each["step"]), key=len)
    spent, made = _spent(runs), _made(runs)
    return [
        _curve(side, each, spent[side.run_id], made)
        for side, each in zip(sides, shown, strict=True)
    ]


def _shown(columns: dict[str, Any], last: int | None) -> dict[str, Any]:
    steps = columns["step"]
    kept = len(steps) if last is None else bisect_right(steps, last)
    return {name: column[:kept] for name, column in columns.items() if isinstance(column, list)}


@dataclass
class _Spent:
    """Running totals at the places where they are known."""

    places: list[float]
    tokens: list[float]
    seconds: list[float]


def _curve(
    side: Side, columns: dict[str, Any], spent: _Spent, made: dict[tuple[str, int], datetime]
) -> Curve:
    steps: list[int] = columns["step"]
    start = side.job.started_at or side.job.created_at
    # Pauses and waiting included.
    wall = (max(0.0, (made[side.run_id, step] - start).total_seconds()) for step in steps)
    return Curve(
        columns=columns,
        axes={
            "step": tuple(float(step) for step in steps),
            "tokens": _read(spent.places, spent.tokens, steps),
            "wall": tuple(wall),
            "hours": _read(spent.places, spent.seconds, steps),
        },
    )


def _spent(runs: Mapping[str, Sequence[int]]) -> dict[str, _Spent]:
    """Tokens trained and seconds worked by each run, from sums over as many spans as points."""
    found = {run_id: _Spent([-1.0], [0.0], [0.0]) for run_id in runs}
    wanted, spans = Q(pk=None), []
    for run_id, steps in runs.items():
        if steps:
            wanted |= Q(run=run_id, step__lte=steps[-1])
            size = max(1, -(-(steps[-1] + 1) // MOST_POINTS))
            spans.append(When(run=run_id, then=F("step") / size))
    if not spans:
        return found
    rows = Usage.objects.filter(wanted).annotate(span=Case(*spans)).values("run_id", "span")
    sums = rows.annotate(last=Max("step"), tokens=Sum("trained_tokens"), worked=Sum("seconds"))
    for row in sums.order_by("run_id", "span"):
        run = found[row["run_id"]]
        run.places.append(float(row["last"]))
        run.tokens.append(run.tokens[-1] + row["tokens"])
        run.seconds.append(run.seconds[-1] + row["worked"])
    return found


def _made(runs: Mapping[str, Sequence[int]]) -> dict[tuple[str, int], datetime]:
    """When each of these steps ended."""
    wanted = Q(pk=None)
    for run_id, steps in runs.items():
        wanted |= Q(run=run_id, step__in=steps)
    rows = JobStep.objects.filter(wanted).values_list("run_id", "step", "created_at")
    return {(run_id, step): at for run_id, step, at in rows}


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
