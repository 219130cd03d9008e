"""Figures kept as sums, so that those of several steps are added and never averaged twice."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from jobs.engine.intervals import student

Sums = dict[str, Any]
"""Names to numbers or to further sums."""
Interval = tuple[float, float]

FEWEST_CLUSTERS = 3
"""Fewer groups than this say nothing of how groups differ."""
RATIO = 2**0.25
"""Neighbouring buckets of a sketch; a value read from one is at most 9 % off."""
LEAST = 1e-4
"""What a sketch cannot tell from zero, in its own unit."""


def added(many: Iterable[Mapping[str, Any]]) -> Sums:
    """Numbers of the same name are added, at any depth; anything else is left out."""
    total: Sums = {}
    for each in many:
        for name, value in each.items():
            if isinstance(value, Mapping):
                total[name] = added([total.get(name) or {}, value])
            elif isinstance(value, int | float) and not isinstance(value, bool):
                total[name] = total.get(name, 0) + value
    return total


def short(value: Any) -> Any:
    """Numbers to nine digits, at any depth: the rest is noise that would fill a database."""
    if isinstance(value, dict):
        return {name: short(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [short(each) for each in value]
    if isinstance(value, float) and math.isfinite(value):
        return float(f"{value:.9g}")
    return value


def sketch(values: Iterable[float]) -> dict[str, int]:
    """Counts by buckets of equal ratio: percentiles of many steps together come from their sum."""
    return dict(Counter(str(_bucket(value)) for value in values))


def sketched_percentile(counts: Mapping[str, int], percent: float) -> float | None:
    """The middle of the bucket that holds the percentile."""
    ordered = sorted((int(bucket), count) for bucket, count in counts.items())
    total = sum(count for _, count in ordered)
    place, seen = (total - 1) * percent / 100, 0
    for bucket, count in ordered:
        seen += count
        if seen > place:
            return 0.0 if bucket < 0 else float(LEAST * RATIO ** (bucket + 0.5))
    return None


def _bucket(value: float) -> int:
    return -1 if value < LEAST else math.floor(math.log(value / LEAST, RATIO))


def pair_sums(pairs: Sequence[tuple[float, float]]) -> Sums:
    """All that mean, spread and correlation of `x` and `y` need; empty where there is no pair."""
    if not pairs:
        return {}
    return {
        "n": len(pairs),
        "x": sum(x for x, _ in pairs),
        "y": sum(y for _, y in pairs),
        "xx": sum(x * x for x, _ in pairs),
        "yy": sum(y * y for _, y in pairs),
        "xy": sum(x * y for x, y in pairs),
    }


def mean_of(sums: Mapping[str, float], name: str = "x") -> float | None:
    """The mean of one side of `pair_sums`; None where it is not known."""
    return sums[name] / sums["n"] if sums.get("n") and name in sums else None


def deviation_of(sums: Mapping[str, float], name: str = "x") -> float | None:
    """The standard deviation of one side of `pair_sums`, of all and not of a sample."""
    n = sums.get("n")
    if not n or name * 2 not in sums:
        return None
    return math.sqrt(max(0.0, sums[name * 2] / n - (sums[name] / n) ** 2))


def correlation(sums: Mapping[str, float]) -> float | None:
    """Pearson's r; None for fewer than three pairs, and where one side never varies."""
    n = sums.get("n", 0)
    if n < 3 or not {"xx", "yy", "xy"} <= sums.keys():
        return None
    x_spread = n * sums["xx"] - sums["x"] ** 2
    y_spread = n * sums["yy"] - sums["y"] ** 2
    least = 1e-9 * n * n
    if x_spread <= least or y_spread <= least:
        return None
    return float((n * sums["xy"] - sums["x"] * sums["y"]) / math.sqrt(x_spread * y_spread))


def cluster_sums(clusters: Iterable[Sequence[float]]) -> Sums:
    """What the mean over all values needs for an interval that knows that clusters hang together.

    Values of one cluster (the attempts at one task) are not independent of each other. Empty where
    there is no value.
    """
    own = [(len(values), sum(values)) for values in clusters if values]
    if not own:
        return {}
    return {
        "n": sum(n for n, _ in own),
        "sum": sum(s for _, s in own),
        "clusters": len(own),
        "nn": sum(n * n for n, _ in own),
        "sn": sum(s * n for n, s in own),
        "ss": sum(s * s for _, s in own),
    }


def clustered_mean(sums: Mapping[str, float]) -> tuple[float | None, float | None]:
    """The mean of `cluster_sums` and half of its 95 % interval; None: nothing, or too few."""
    n, clusters = sums.get("n", 0), sums.get("clusters", 0)
    if not n:
        return None, None
    mean = sums["sum"] / n
    if clusters < FEWEST_CLUSTERS:
        return mean, None
    squares = sums["ss"] - 2 * mean * sums["sn"] + mean * mean * sums["nn"]
    variance = max(0.0, squares) / n**2 * clusters / (clusters - 1)
    return mean, student(round(clusters) - 1) * math.sqrt(variance)
