"""What a preflight tries: some tasks of a job that was asked for, and is not paid for yet."""

from __future__ import annotations

from typing import ClassVar

from django.db import models

from jobs.models.job import Job


class Preflight(models.Model):
    """The sample that a job of purpose `preflight` tries with its base model.

    State, frozen spec, run, events and trajectories are those of the job. What is found is read
    from its steps and trajectories; see `jobs.workbench`.
    """

    job = models.OneToOneField(
        Job, on_delete=models.CASCADE, primary_key=True, related_name="preflight"
    )
    rows = models.JSONField(help_text="Lines of the training file, zero-based, in order of trying")
    attempts = models.IntegerField(help_text="At each task")
    verdict = models.CharField(max_length=60, blank=True, help_text="For lists; of the last slice")

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.CheckConstraint(
                condition=models.Q(attempts__gte=2), name="preflight_tries_twice"
            ),
        ]

    def __str__(self) -> str:
        return f"preflight {self.job_id}"
