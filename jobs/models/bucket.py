"""What charts read of a long run: steps folded into buckets, at several sizes."""

from __future__ import annotations

from typing import ClassVar

from django.db import models

from jobs.models.run import Run


class StepBucket(models.Model):
    """`size` neighbouring steps as one row, from step `first` (a multiple of `size`) on.

    `figures`: name → [last, low, high, sum, n] of the known values, names as
    `jobs.selectors.rollup.step_figures` makes them. Written in the transaction of each step, and
    rebuilt from `JobStep` by `jobs.services.rollup.rollup_steps`.
    """

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="buckets")
    size = models.IntegerField()
    first = models.IntegerField()
    last = models.IntegerField()
    validation_reward = models.FloatField(null=True)
    """The newest one of the bucket: what the trend in a list of jobs reads."""
    figures = models.JSONField()

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["run", "size", "first"], name="bucket_once")
        ]

    def __str__(self) -> str:
        return f"steps {self.first} to {self.last} of {self.run_id}"
