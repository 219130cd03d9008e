"""What a comparison found of each grader version by itself: how steady it is, and what it costs."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from django.db.models import Q

from graders.models import Judge
from graders.selectors import judge_models
from jobs.models import Comparison, ComparisonStatus
from jobs.workbench.measures import spread
from jobs.workbench.plan import AGAIN, AS_IS
from jobs.workbench.selectors import scores

THOUSAND = 1000


@dataclass(frozen=True)
class Upkeep:
    """Of one version; None where no comparison measured it.

    `noise`: the mean standard deviation of repeated scores of a sample. `cost`: of the judges, for
    1 000 samples, by the prices of that day.
    """

    noise: float | None = None
    cost: float | None = None


def upkeep_measure(comparison: Comparison) -> dict[str, dict[str, float | None]]:
    """By side, `a` and `b`; a side that is the stored rewards was not graded, and is left out."""
    sides = ["b"] if comparison.spec_a is None else ["a", "b"]
    judges = judge_models(comparison.job.organisation)
    rows = list(scores(comparison, AS_IS, AGAIN).order_by("pk"))
    again = [row for row in rows if row.case == AGAIN]
    plain = [row for row in rows if row.case == AS_IS]
    return {
        side: {
            "noise": _noise((row.trajectory_id, getattr(row, side)) for row in again),
            "cost": _cost([getattr(row, f"detail_{side}") for row in plain], judges),
        }
        for side in sides
    }


def upkeep_of(version_ids: Iterable[str]) -> dict[str, Upkeep]:
    """What was measured last of each of these versions; one query."""
    wanted = set(version_ids)
    either = Q(version_a__in=wanted) | Q(version_b__in=wanted)
    rows = Comparison.objects.filter(either, status=ComparisonStatus.DONE).order_by("finished_at")
    found: dict[str, dict[str, float]] = defaultdict(dict)
    for first, second, measured in rows.values_list("version_a_id", "version_b_id", "upkeep"):
        for side, version in (("a", first), ("b", second)):
            if version in wanted:
                told = measured.get(side) or {}
                found[version] |= {name: value for name, value in told.items() if value is not None}
    return {version: Upkeep(**told) for version, told in found.items()}


def _noise(given: Iterable[tuple[int, float | None]]) -> float | None:
    by_sample: dict[int, list[float]] = defaultdict(list)
    for sample, score in given:
        if score is not None:
            by_sample[sample].append(score)
    spreads = [spread(listed) for listed in by_sample.values() if len(listed) > 1]
    return statistics.fmean(spreads) if spreads else None


def _cost(
    details: list[Mapping[str, Any]], judges: Mapping[str, tuple[Judge, str]]
) -> float | None:
    """None too where a judge that was asked is gone, or has no price: unknown is not nothing."""
    total = 0.0
    for detail in details:
        for model, spent in (detail.get("usage") or {}).items():
            judge = judges[model][0] if model in judges else None
            if judge is None or not (judge.input_price or judge.output_price):
                return None
            total += float(judge.input_price) * spent.get("prompt_tokens", 0) / 1e6
            total += float(judge.output_price) * spent.get("completion_tokens", 0) / 1e6
    return THOUSAND * total / len(details) if details else None
