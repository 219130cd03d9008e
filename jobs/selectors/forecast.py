"""How long a job will still take, from how long its newest steps took."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import mean, stdev

from django.db.models import F

from jobs.models import Job, JobStep, RunKind, Status

RECENT = 5
T_95 = {2: 4.303, 3: 3.182, 4: 2.776}
"""Two-sided 95 % points of Student's t by degrees of freedom, for up to `RECENT` steps."""


@dataclass(frozen=True)
class TimeLeft:
    """Seconds: the mean step for each step that remains, and its 95 % prediction interval.

    `low` and `high` are None under three timed steps: they would say nothing.
    """

    middle: float
    low: float | None = None
    high: float | None = None


def time_left(job: Job, times: Sequence[float]) -> TimeLeft | None:
    """From the seconds of the newest steps; None where nothing is left or nothing is known."""
    remaining = max(0, job.total_steps - job.last_step) if job.total_steps else 0
    if job.is_final or not times or not remaining:
        return None
    middle = mean(times) * remaining
    if len(times) - 1 not in T_95:
        return TimeLeft(middle)
    spread = stdev(times) * sqrt(remaining + remaining**2 / len(times))
    half = T_95[len(times) - 1] * spread
    return TimeLeft(middle, max(0.0, middle - half), middle + half)


def step_seconds(steps: Iterable[JobStep]) -> list[float]:
    """The whole times of the newest training steps, oldest first."""
    totals = [(step.metrics.get("seconds") or {}).get("total") for step in steps if step.step > 0]
    return [float(total) for total in totals[-RECENT:] if total is not None]


def times_left(jobs: Iterable[Job]) -> dict[str, TimeLeft]:
    """The time left of each running job; one query for a whole list."""
    running = {job.pk: job for job in jobs if job.status == Status.RUNNING}
    newest = JobStep.objects.filter(
        run__job__in=list(running),
        run__kind=RunKind.TRAIN,
        step__gt=F("run__last_step") - RECENT,
        step__gte=1,
    ).order_by("step")
    times: dict[str, list[float]] = {}
    for job_id, total in newest.values_list("run__job_id", "metrics__seconds__total"):
        if isinstance(total, int | float):
            times.setdefault(job_id, []).append(float(total))
    found = {pk: time_left(running[pk], seconds) for pk, seconds in times.items()}
    return {pk: left for pk, left in found.items() if left is not None}
