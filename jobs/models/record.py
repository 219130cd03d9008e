"""What a run leaves step by step: metrics, events and usage."""

from __future__ import annotations

from typing import ClassVar

from django.db import models

from jobs.models.job import Job
from jobs.models.run import Run


class JobStep(models.Model):
    """One committed step; `metrics` is as the engine reported it. Step 0 is the base model."""

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="steps")
    step = models.IntegerField()
    epoch = models.BigIntegerField()
    metrics = models.JSONField()
    bodies = models.CharField(max_length=200, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["run", "step"], name="step_once")
        ]

    def __str__(self) -> str:
        return f"step {self.step} of {self.run_id}"


class EventLevel(models.TextChoices):
    """How much an event matters."""

    INFO = "info", "Info"
    WARN = "warn", "Warning"
    ERROR = "error", "Error"


class JobEvent(models.Model):
    """One line of the job's history. `code` names the kind for programs."""

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="events")
    run = models.ForeignKey(Run, on_delete=models.CASCADE, null=True, related_name="events")
    level = models.CharField(max_length=5, choices=EventLevel.choices, default=EventLevel.INFO)
    code = models.CharField(max_length=60, blank=True)
    text = models.TextField()
    data = models.JSONField(default=dict)
    step = models.IntegerField(null=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["job", "-id"], name="events_newest_first"),
            models.Index(fields=["job", "code", "step"], name="events_by_code"),
        ]

    def __str__(self) -> str:
        return self.text


class Usage(models.Model):
    """What one committed step consumed; a job's usage is the sum of its rows."""

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="usage")
    step = models.IntegerField()
    rollouts = models.IntegerField(default=0)
    sampled_tokens = models.BigIntegerField(default=0)
    total_tokens = models.BigIntegerField(default=0)
    trained_tokens = models.BigIntegerField(default=0)
    tool_calls = models.IntegerField(default=0)
    seconds = models.FloatField(default=0.0)
    judge_calls = models.IntegerField(default=0)
    judge_tokens = models.BigIntegerField(default=0)
    """In and out."""
    judge_cost = models.FloatField(default=0.0)
    """By the prices that the judges had when the step was made."""

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["run", "step"], name="usage_once")
        ]

    def __str__(self) -> str:
        return f"usage of step {self.step} of {self.run_id}"
