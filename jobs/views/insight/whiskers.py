"""The axis of advantages: one for a whole table, symmetric, with a mark and its interval."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from jobs.selectors.insight.credit import Estimate

WIDE, MIDDLE, REACH = 200.0, 100.0, 94.0
MARK = 8.0
STEPS = (1.0, 2.0, 5.0, 10.0)
SMALLEST = 1e-6


@dataclass(frozen=True)
class Whisker:
    """Where the mark stands, and from where to where its interval reaches; SVG user units."""

    mark: float
    left: float
    wide: float
    tone: str

    @property
    def right(self) -> float:
        return round(self.left + self.wide, 1)


def axis(estimates: Iterable[Estimate]) -> float:
    """The end of the axis: the farthest interval, rounded up to 1, 2 or 5 times a power of ten."""
    farthest = max(
        (abs(each.mean) + (each.half or 0.0) for each in estimates if each.mean is not None),
        default=0.0,
    )
    size = 10.0 ** math.floor(math.log10(max(farthest, SMALLEST)))
    return next(step * size for step in STEPS if step * size >= farthest * (1 - 1e-9))


def whisker(estimate: Estimate, end: float, *, is_own: bool) -> Whisker | None:
    """None where there is no mean. Grey where it is unsure, or only repeats the episode's."""
    if estimate.mean is None:
        return None
    place = MIDDLE + REACH * estimate.mean / end
    half = REACH * (estimate.half or 0.0) / end
    tone = "idle" if not (is_own and estimate.is_sure) else "plus" if estimate.mean > 0 else "minus"
    return Whisker(round(place, 1), round(place - half, 1), round(2 * half, 1), tone)
