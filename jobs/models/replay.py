"""What a replay run was asked to measure, and what it found."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.db import models

from jobs.models.run import Run
from jobs.models.trajectory import SEPARATOR, Trajectory


class Replay(models.Model):
    """One turn of a stored training trajectory, by continuations; its state is that of its run.

    It is a diagnosis: nothing that was trained changes by it. `delta` None in a run that
    succeeded: there is no estimate, for `reason`. In a run that failed, `reason` is why.
    """

    run = models.OneToOneField(
        Run, on_delete=models.CASCADE, primary_key=True, related_name="replay"
    )
    trajectory = models.ForeignKey(Trajectory, on_delete=models.CASCADE, related_name="replays")
    turn = models.IntegerField(help_text="Zero-based")
    continuations = models.IntegerField(help_text="From before the turn, and as many from after it")
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+"
    )
    delta = models.FloatField(null=True)
    low = models.FloatField(null=True)
    high = models.FloatField(null=True)
    n = models.IntegerField(default=0, help_text="Usable continuations of both sides")
    unusable = models.IntegerField(default=0)
    reason = models.TextField(blank=True)
    weights_step = models.IntegerField(null=True, help_text="Whose checkpoint sampled; 0: base")
    cost = models.JSONField(default=dict)
    packed_tools = models.CharField(
        max_length=2000, blank=True, help_text="What the turn called; empty: not told"
    )

    class Meta:
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["trajectory", "turn"], name="replays_of_turn"),
        ]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.CheckConstraint(
                condition=models.Q(delta=None, low=None, high=None)
                | models.Q(delta__isnull=False, low__isnull=False, high__isnull=False),
                name="replay_estimate_has_interval",
            ),
        ]

    def __str__(self) -> str:
        return f"replay of turn {self.turn + 1} of {self.trajectory_id}"

    @property
    def tools(self) -> list[str]:
        return [word for word in self.packed_tools.split(SEPARATOR) if word]

    @property
    def wanted_step(self) -> int:
        """Whose checkpoint sampled the trajectory."""
        return self.trajectory.step - 1
