"""Figures of scores: means, differences and rank correlations with their 95 % intervals. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from jobs.engine.credit.counterfactual import scale_of
from jobs.engine.intervals import Z, student, wilson

FEWEST_PAIRS = 4
"""Differences that an interval needs here: with fewer, an interval says next to nothing."""
FEWEST_RANKED = 5
"""Pairs that a rank correlation needs here; under four it has no interval at all."""


@dataclass(frozen=True)
class Estimate:
    """A figure, its 95 % interval where there is one, and over how many."""

    value: float
    n: int
    low: float | None = None
    high: float | None = None


def mean_of(scores: Sequence[float]) -> Estimate | None:
    """Wilson's interval on the scale of the scores: wide rather than nothing where all are equal.

    A score within a range varies at most as much as a 0/1 one of the same mean.
    """
    if not scores:
        return None
    low, high = scale_of(scores)
    width = high - low
    mean = statistics.fmean(scores)
    least, most = wilson((mean - low) / width, len(scores))
    return Estimate(mean, len(scores), low + width * least, low + width * most)


def share_of(count: int, n: int) -> Estimate | None:
    """A share with Wilson's interval."""
    return Estimate(count / n, n, *wilson(count / n, n)) if n else None


def paired_difference(first: Sequence[float], second: Sequence[float]) -> Estimate | None:
    """The mean of second minus first over the same samples, with Student's interval."""
    gaps = [after - before for before, after in zip(first, second, strict=True)]
    if not gaps:
        return None
    mean = statistics.fmean(gaps)
    if len(gaps) < FEWEST_PAIRS:
        return Estimate(mean, len(gaps))
    half = student(len(gaps) - 1) * statistics.stdev(gaps) / math.sqrt(len(gaps))
    return Estimate(mean, len(gaps), mean - half, mean + half)


def spearman(first: Sequence[float], second: Sequence[float]) -> Estimate | None:
    """How alike two lists rank the same things, ties sharing their mean rank.

    None where there are too few, or where one list has the same value everywhere. The interval is
    Fisher's transformation with the variance of Bonett and Wright (2000, Psychometrika 65, 23). A
    perfect order is taken as the nearest one that is not, so that a few pairs prove nothing.
    """
    n = len(first)
    if n != len(second):
        raise ValueError(f"{n} and {len(second)} values cannot be ranked in pairs")
    if n < FEWEST_RANKED or len(set(first)) < 2 or len(set(second)) < 2:
        return None
    rho = statistics.correlation(ranks(first), ranks(second))
    nearest = 1 - 12 / (n * (n * n - 1))
    near = max(-nearest, min(nearest, rho))
    half = Z * math.sqrt((1 + near * near / 2) / (n - 3))
    centre = math.atanh(near)
    low, high = math.tanh(centre - half), math.tanh(centre + half)
    return Estimate(rho, n, min(low, rho), max(high, rho))


def ranks(values: Sequence[float]) -> list[float]:
    """Ranks from 1; equal values share the mean of theirs."""
    order = sorted(range(len(values)), key=values.__getitem__)
    found = [0.0] * len(values)
    start = 0
    while start < len(order):
        end = start
        while end + 1 < len(order) and values[order[end + 1]] == values[order[start]]:
            end += 1
        for place in range(start, end + 1):
            found[order[place]] = (start + end) / 2 + 1
        start = end + 1
    return found


def quantile(values: Sequence[float], share: float) -> float | None:
    """The value under which `share` of them lie, between two of them where it falls so."""
    if not values:
        return None
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def spread(values: Sequence[float]) -> float:
    """The standard deviation of repeated scores of one sample."""
    return statistics.stdev(values) if len(values) > 1 else 0.0
