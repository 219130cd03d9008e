"""One try of the playground: a task, and what its models are doing with it."""

from __future__ import annotations

from typing import ClassVar

from django.db import models

from hone.core.ordered_json import OrderedJSONField
from jobs.models.job import Job


class Tryout(models.Model):
    """What a job of purpose `playground` tries; state, run, events and trajectories are the job's.

    Its models are frozen in `job.spec["sides"]`: step 0 is side A, step 1 side B. `live` is the
    rollout in hand, of step `live_step`, in the engine's words and without its tokens; of a side
    that is done the trajectory has all. `heard` counts its news, for the page that asks for them.
    """

    job = models.OneToOneField(
        Job, on_delete=models.CASCADE, primary_key=True, related_name="tryout"
    )
    item = OrderedJSONField(help_text="The whole task: a row of a dataset, or messages")
    row = models.IntegerField(null=True, help_text="Of `job.train_version`; null: own messages")
    live = OrderedJSONField(null=True)
    live_step = models.IntegerField(default=0)
    heard = models.IntegerField(default=0)

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.CheckConstraint(
                condition=models.Q(row=None) | models.Q(row__gte=0), name="tryout_row"
            ),
        ]

    def __str__(self) -> str:
        return f"try {self.job_id}"
