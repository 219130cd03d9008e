"""Columns for charts: a value a step, or of many steps a bucket's last value with its band."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.db.models import Q

from jobs.models import Job, JobStep, RunKind, StepBucket
from jobs.selectors.rollup import (
    Figures,
    bucket_size,
    buckets_of,
    cells,
    step_figures,
    stored_size,
)

Column = list[float | None]
Points = list[tuple[int, Figures]]
Families = dict[str, list[str]]
View = tuple[int, int, int]
"""First step, last step, steps in a point."""

_PLAIN = {
    "train_reward": "train.reward_mean",
    "validation_reward": "validation.reward_mean",
    "tool_calls_mean": "train.tool_calls_mean",
    "tool_calls_p95": "train.tool_calls_p95",
    "validation_tool_calls_mean": "validation.tool_calls_mean",
    "validation_tool_calls_p95": "validation.tool_calls_p95",
    "tokens_mean": "train.tokens_mean",
    "tokens_p50": "train.tokens_p50",
    "tokens_p95": "train.tokens_p95",
    "tokens_p99": "train.tokens_p99",
    "validation_tokens_mean": "validation.tokens_mean",
    "validation_tokens_p95": "validation.tokens_p95",
    "turns_mean": "train.turns_mean",
    "loop_rate": "train.loop_rate",
    "validation_loop_rate": "validation.loop_rate",
    "ungraded": "train.ungraded",
    "tool_seconds_p50": "train.tool_seconds_p50",
    "tool_seconds_p95": "train.tool_seconds_p95",
    "groups_total": "groups.total",
    "groups_with_signal": "groups.with_signal",
    "groups_all_solved": "groups.all_solved",
    "groups_all_failed": "groups.all_failed",
    "loss": "learning.loss",
    "grad_norm": "learning.grad_norm",
    "entropy": "learning.entropy",
    "mismatch_kl": "learning.mismatch_kl",
    "effective_sample_size": "learning.effective_sample_size",
    "ratio_clipped": "learning.ratio_clipped",
    "learning_rate": "learning.learning_rate",
    "held_out": "validation.held_out_mean",
    "validation_low": "validation.reward_low",
    "validation_high": "validation.reward_high",
    "tool_calls_p50": "train.tool_calls_p50",
    "tool_calls_max": "train.tool_calls_max",
    "tool_seconds_p99": "train.tool_seconds_p99",
    "validation_tokens_p99": "validation.tokens_p99",
}


LAST, LOW, HIGH, SUM, N = range(5)


def job_series(job: Job, *, first: int | None = None, last: int | None = None) -> dict[str, Any]:
    """All columns of a job's charts between two steps; `step` names each point.

    At most 400 points: of more steps each is a bucket of `size` steps, named by its last one,
    with the last value; `bands` then holds (lows, highs) by column. Plain columns are lists beside
    `step`. `stops` (shares), `seconds`, `parts`, `errors`, `faults` and `ungraded_causes` hold one
    list for each name, of means over the bucket but for `parts`. None where a step has no such
    figure. Reads 800 rows at most.
    """
    return columns_of(*series_points(job, first, last))


def columns_of(size: int, points: Points, families: Families | None = None) -> dict[str, Any]:
    """As `job_series`, of the points of its view; `families` where the names are known."""
    names = families_of(points) if families is None else families
    series: dict[str, Any] = {"step": [step for step, _ in points], "size": size}
    for column, name in _PLAIN.items():
        series[column] = _column(points, name, LAST)
    series["bands"] = _bands(points) if size > 1 else {}
    series["stops"] = _shares(points, names["stops"])
    series["seconds"] = {name: _means(points, f"seconds.{name}") for name in names["seconds"]}
    for column in ("parts", "validation_parts"):
        prefix = FAMILIES[column]
        series[column] = {name: _column(points, f"{prefix}{name}", LAST) for name in names[column]}
    for column in ("errors", "faults", "ungraded_causes"):
        prefix = FAMILIES[column]
        series[column] = {name: _per_step(points, f"{prefix}{name}") for name in names[column]}
    return series


FAMILIES = {
    "stops": "stops.",
    "seconds": "seconds.",
    "parts": "train.parts.",
    "validation_parts": "validation.parts.",
    "errors": "errors.",
    "faults": "faults.",
    "ungraded_causes": "ungraded.",
}
"""Columns that hold one list for each name, and how their figures begin."""


def families_of(points: Points) -> Families:
    """The names of each family that some point has, in order."""
    known = sorted(set[str]().union(*(figures for _, figures in points)))
    return {
        column: [name.removeprefix(prefix) for name in known if name.startswith(prefix)]
        for column, prefix in FAMILIES.items()
    }


def series_points(job: Job, first: int | None, last: int | None) -> tuple[int, Points]:
    """The size of a bucket and the points of a view: (last step, figures), oldest first."""
    return points_of([job], first, last)[job.pk]


def points_of(
    jobs: Sequence[Job], first: int | None = None, last: int | None = None
) -> dict[str, tuple[int, Points]]:
    """As `series_points`, of each job; two queries, one of steps and one of buckets, at most."""
    return points_in({job.pk: view_of(job, first, last) for job in jobs})


def view_of(job: Job, first: int | None, last: int | None) -> View:
    """The steps of the job between two, and the size of a point."""
    low, high = max(0, first or 0), job.last_step if last is None else min(last, job.last_step)
    return low, high, bucket_size(high - low + 1)


def points_in(views: Mapping[str, View]) -> dict[str, tuple[int, Points]]:
    """As `points_of`, of these steps in points of this size, by the ids of the jobs."""
    of_steps, of_buckets = Q(), Q()
    for pk, (low, high, size) in views.items():
        stored = stored_size(size)
        if stored == 1:
            of_steps |= Q(run__job=pk, step__gte=low, step__lte=high)
        else:
            of_buckets |= Q(run__job=pk, size=stored, first__lte=high, last__gte=low)
    found: dict[str, list[tuple[int, int, Figures]]] = {pk: [] for pk in views}
    if of_steps:
        steps = JobStep.objects.filter(of_steps, run__kind=RunKind.TRAIN).order_by("step")
        for job_id, step, metrics in steps.values_list("run__job", "step", "metrics"):
            found[job_id].append((step, step, cells(step_figures(metrics))))
    if of_buckets:
        buckets = StepBucket.objects.filter(of_buckets, run__kind=RunKind.TRAIN).order_by("first")
        for job_id, *bucket in buckets.values_list("run__job", "first", "last", "figures"):
            found[job_id].append((bucket[0], bucket[1], bucket[2]))
    return {pk: (size, buckets_of(found[pk], size)) for pk, (_, _, size) in views.items()}


def _column(points: Points, name: str, which: int) -> Column:
    return [figures[name][which] if name in figures else None for _, figures in points]


def _bands(points: Points) -> dict[str, tuple[Column, Column]]:
    return {
        column: (_column(points, name, LOW), _column(points, name, HIGH))
        for column, name in _PLAIN.items()
    }


def _means(points: Points, name: str) -> Column:
    return [
        figures[name][SUM] / figures[name][N] if name in figures else None for _, figures in points
    ]


def _per_step(points: Points, name: str) -> Column:
    """The mean over all trained steps: where a cause is not named, nothing was lost to it."""
    trained = [figures.get("train.n") or figures.get("train.reward_mean") for _, figures in points]
    return [
        None if not of else (figures[name][SUM] / of[N] if name in figures else 0.0)
        for of, (_, figures) in zip(trained, points, strict=True)
    ]


def _shares(points: Points, names: Sequence[str]) -> dict[str, Column]:
    """Each step's shares add to 1, so their sums do to the number of steps."""
    totals = [
        sum(figures[f"stops.{name}"][SUM] for name in names if f"stops.{name}" in figures)
        for _, figures in points
    ]
    return {
        name: [
            figures[f"stops.{name}"][SUM] / total if f"stops.{name}" in figures else None
            for total, (_, figures) in zip(totals, points, strict=True)
        ]
        for name in names
    }
