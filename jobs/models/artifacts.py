"""What a run leaves on disk: checkpoints and the exported adapter. Paths are in the run folder."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from django.conf import settings
from django.db import models

from jobs.models.job import Job
from jobs.models.run import Run


def run_folder(run_id: str) -> Path:
    """Where a run's files are on this machine."""
    return Path(settings.MEDIA_ROOT) / "runs" / run_id


class Checkpoint(models.Model):
    """A committed checkpoint, and the database's word on whether its files stay.

    `kept`: for its validation reward; `pinned`: by a person; `available`: it may be used, and its
    files are there. `damage`: what differs from its manifest; it is set aside, and not available.
    """

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="checkpoints")
    step = models.IntegerField()
    epoch = models.BigIntegerField()
    path = models.CharField(max_length=200)
    manifest_sha256 = models.CharField(max_length=64)
    bytes = models.BigIntegerField()
    validation_reward = models.FloatField(null=True)
    kept = models.BooleanField(default=False)
    pinned = models.BooleanField(default=False)
    available = models.BooleanField(default=True)
    damage = models.CharField(max_length=300, blank=True)
    verified_at = models.DateTimeField(null=True, help_text="When its files last had their hashes")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["run", "step"], name="checkpoint_once"),
        ]
        indexes: ClassVar[list[models.Index]] = [
            # Few of a long run's many rows: what is on disk or set aside, and what was evaluated.
            models.Index(
                fields=["run"],
                condition=models.Q(available=True) | ~models.Q(damage=""),
                name="checkpoints_available",
            ),
            models.Index(
                fields=["run", "step"],
                condition=models.Q(validation_reward__isnull=False),
                name="checkpoints_evaluated",
            ),
        ]

    def __str__(self) -> str:
        return f"checkpoint {self.step} of {self.run_id}"

    @property
    def organisation_id(self) -> str:
        return self.run.job.organisation_id


class Adapter(models.Model):
    """The exported adapter and the proof that it is the model that was trained."""

    job = models.OneToOneField(Job, on_delete=models.CASCADE, related_name="adapter")
    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="+")
    step = models.IntegerField()
    path = models.CharField(max_length=200)
    sha256 = models.CharField(max_length=64)
    bytes = models.BigIntegerField()
    proof_max_abs_logprob_diff = models.FloatField()
    proof_tokens = models.IntegerField()
    base_max_abs_logprob_diff = models.FloatField(null=True)
    """From the base model's; null where an older engine did not measure it."""
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"adapter of {self.job_id}"

    @property
    def folder(self) -> Path:
        return run_folder(self.run_id) / self.path
