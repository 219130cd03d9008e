"""Keeps the buckets of a run's steps, which the charts of long jobs read."""

from __future__ import annotations

from itertools import islice
from typing import Any

from django.db import transaction
from django.db.models import Q

from jobs.models import JobStep, Run, StepBucket
from jobs.selectors.rollup import SIZES, bucket_grown, bucket_rows, cells, step_figures

BATCH = 500
_KEY = ["run", "size", "first"]
_GROWING = ["last", "validation_reward", "figures"]


def step_roll(run_id: str, step: int, metrics: dict[str, Any]) -> None:
    """Fold a new step into the buckets that it belongs to; inside the step's transaction."""
    newest = cells(step_figures(metrics))
    wanted = Q()
    for size in SIZES:
        wanted |= Q(size=size, first=step // size * size)
    rows_of = StepBucket.objects.filter(wanted, run=run_id)
    found: dict[int, dict[str, Any]] = {row["size"]: {**row} for row in rows_of.values()}
    rows = [
        StepBucket(run_id=run_id, **bucket_grown(found.get(size), size, step, newest))
        for size in SIZES
    ]
    StepBucket.objects.bulk_create(
        rows, update_conflicts=True, unique_fields=_KEY, update_fields=_GROWING
    )


@transaction.atomic
def rollup_steps(run: Run) -> int:
    """Make all buckets of a run anew from its `JobStep` rows; gives their number.

    For whoever writes `JobStep` rows otherwise than by `step_commit`: an import, a benchmark.
    """
    StepBucket.objects.filter(run=run).delete()
    steps = JobStep.objects.filter(run=run).order_by("step").values_list("step", "metrics")
    rows = (StepBucket(run=run, **fields) for fields in bucket_rows(steps.iterator(2000)))
    made = 0
    while batch := list(islice(rows, BATCH)):
        made += len(StepBucket.objects.bulk_create(batch))
    return made
