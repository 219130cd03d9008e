"""Graders side by side over stored trajectories, and what people think of these."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.db import models

from hone.core.ids import new_id
from hone.core.ordered_json import OrderedJSONField
from jobs.models.job import Job
from jobs.models.trajectory import Trajectory


def comparison_id() -> str:
    return new_id("cmp")


class ComparisonStatus(models.TextChoices):
    """The last three never change."""

    QUEUED = "queued", "Queued"
    RUNNING = "running", "Running"
    DONE = "done", "Done"
    CANCELLED = "cancelled", "Cancelled"
    FAILED = "failed", "Failed"


OPEN_COMPARISON = (ComparisonStatus.QUEUED, ComparisonStatus.RUNNING)


class Comparison(models.Model):
    """Two graders, or the stored rewards and a grader, over trajectories of one job.

    Nothing of the job changes by it. `spec_a` None: side A is what the job trained on. A spec may
    be of no saved version, so both are copies. `chosen` are ids of trajectories; `done` of `total`
    gradings are over. `epoch` is the fence of its worker, `lease_until` the database's time.
    """

    id = models.CharField(primary_key=True, max_length=40, default=comparison_id, editable=False)
    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="comparisons")
    label_a = models.CharField(max_length=120)
    spec_a = OrderedJSONField(null=True)
    version_a = models.ForeignKey(
        "graders.GraderVersion", on_delete=models.SET_NULL, null=True, related_name="+"
    )
    label_b = models.CharField(max_length=120)
    spec_b = OrderedJSONField()
    version_b = models.ForeignKey(
        "graders.GraderVersion", on_delete=models.SET_NULL, null=True, related_name="+"
    )
    first_step = models.IntegerField(null=True)
    last_step = models.IntegerField(null=True)
    split = models.CharField(max_length=10, blank=True)
    matching = models.IntegerField(help_text="Trajectories that it was drawn from")
    chosen = models.JSONField()
    repeats = models.IntegerField(default=0)
    mutations = models.BooleanField(default=False)
    status = models.CharField(
        max_length=10, choices=ComparisonStatus.choices, default=ComparisonStatus.QUEUED
    )
    message = models.TextField(blank=True)
    done = models.IntegerField(default=0)
    total = models.IntegerField()
    epoch = models.BigIntegerField(default=0)
    lease_until = models.DateTimeField(null=True)
    waits = models.IntegerField(
        default=0, help_text="How often in a row what grades did not answer, such as a judge"
    )
    upkeep = models.JSONField(
        default=dict, help_text="By side: how steady its grader is and what it costs, once done"
    )
    rung_at = models.DateTimeField(null=True, help_text="When a worker was last told of it")
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+"
    )
    created_at = models.DateTimeField(auto_now_add=True)
    finished_at = models.DateTimeField(null=True)

    class Meta:
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["job", "-created_at"], name="comparisons_newest_first"),
            models.Index(fields=["status", "lease_until"], name="comparisons_to_ring"),
        ]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.CheckConstraint(
                condition=models.Q(status__in=ComparisonStatus.values),
                name="known_comparison_status",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.label_a} and {self.label_b}"

    @property
    def organisation_id(self) -> str:
        return self.job.organisation_id

    @property
    def is_open(self) -> bool:
        return self.status in OPEN_COMPARISON

    @property
    def is_waiting(self) -> bool:
        """Whether what grades, such as a judge, is away; `message` says what it said last."""
        return self.is_open and self.waits > 0


class ComparedScore(models.Model):
    """What both sides gave one sample: a trajectory as it is (`case` empty), the same again
    (`case` "again"), or a changed one (`case` names the change). `gap` is |b − a|."""

    comparison = models.ForeignKey(Comparison, on_delete=models.CASCADE, related_name="scores")
    trajectory = models.ForeignKey(Trajectory, on_delete=models.CASCADE, related_name="+")
    case = models.CharField(max_length=20, blank=True)
    attempt = models.IntegerField(default=0)
    a = models.FloatField(null=True)
    b = models.FloatField(null=True)
    gap = models.FloatField(null=True)
    detail_a = models.JSONField(default=dict)
    detail_b = models.JSONField(default=dict)
    answer = models.TextField(blank=True, help_text="Of a changed sample")

    class Meta:
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["comparison", "case", "-gap"], name="widest_gaps_first"),
        ]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(
                fields=["comparison", "trajectory", "case", "attempt"], name="compared_once"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.trajectory_id} {self.case} in {self.comparison_id}"


class HumanMark(models.Model):
    """What one person thinks a trajectory's answer is worth, on the scale of its job's grader."""

    trajectory = models.ForeignKey(Trajectory, on_delete=models.CASCADE, related_name="marks")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    value = models.FloatField()
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["trajectory", "user"], name="one_mark_of_a_person")
        ]

    def __str__(self) -> str:
        return f"{self.value:g} by {self.user_id}"
