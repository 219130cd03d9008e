"""A run: the part of a job that starts an engine. It carries the lease and the fence."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.db import models

from hone.core.ids import new_id
from jobs.models.job import Job
from jobs.models.states import (
    LEADING,
    OPEN,
    Desired,
    PauseReason,
    RunKind,
    Stateful,
    Status,
)


def run_id() -> str:
    return new_id("run")


class Run(Stateful):
    """Who holds it (`holder`, `host`, process group), until when, and how far it came.

    `epoch` is the fence: it grows with every acquisition, and a holder of an older one writes
    nothing. `lease_until` is the database's time. `deaths` counts engine or worker deaths since
    `last_step` last moved.
    """

    id = models.CharField(primary_key=True, max_length=40, default=run_id, editable=False)
    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="runs")
    kind = models.CharField(max_length=10, choices=RunKind.choices, default=RunKind.TRAIN)
    desired = models.CharField(max_length=6, choices=Desired.choices, default=Desired.RUN)
    epoch = models.BigIntegerField(default=0)
    holder = models.CharField(max_length=200, blank=True)
    host = models.CharField(max_length=200, blank=True)
    pgid = models.IntegerField(null=True)
    process_start = models.CharField(max_length=60, blank=True)
    lease_until = models.DateTimeField(null=True)
    last_step = models.IntegerField(default=-1)
    total_steps = models.IntegerField(default=0)
    infra_attempts = models.IntegerField(default=0)
    deaths = models.IntegerField(default=0)
    last_progress_at = models.DateTimeField(null=True)
    progress = models.JSONField(default=dict, help_text="step, phase, done, total; live only")
    pause_reason = models.CharField(max_length=20, choices=PauseReason.choices, blank=True)
    pause_text = models.TextField(blank=True)
    paused_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.PROTECT,
        null=True,
        related_name="+",
        help_text="The person who asked for the pause, if one did",
    )
    probe_at = models.DateTimeField(null=True, help_text="When a paused run is looked at again")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["status", "lease_until"], name="runs_to_ring"),
        ]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.CheckConstraint(
                condition=models.Q(status__in=Status.values), name="known_run_status"
            ),
            models.CheckConstraint(
                condition=models.Q(desired__in=Desired.values), name="known_desired"
            ),
            models.CheckConstraint(
                condition=models.Q(lease_until__isnull=True) | models.Q(status__in=OPEN),
                name="final_run_has_no_lease",
            ),
            models.UniqueConstraint(
                fields=["job"], condition=models.Q(kind__in=LEADING), name="one_leading_run"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.id} of {self.job_id}"

    @property
    def organisation_id(self) -> str:
        return self.job.organisation_id
