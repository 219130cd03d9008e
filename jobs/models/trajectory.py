"""The index row of a trajectory; its body is one zstd frame in the step's file."""

from __future__ import annotations

from typing import ClassVar

from django.db import models

from jobs.models.run import Run

SEPARATOR = "|"


def packed(words: tuple[str, ...]) -> str:
    """`("a", "b")` → `|a|b|`, so that one word is found with `contains="|a|"` on any database."""
    return f"{SEPARATOR}{SEPARATOR.join(words)}{SEPARATOR}" if words else ""


class Trajectory(models.Model):
    """One attempt at one task. `reward` None: ungraded, for `cause`."""

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="trajectories")
    step = models.IntegerField()
    uid = models.CharField(max_length=80)
    split = models.CharField(max_length=10)
    row = models.IntegerField()
    group = models.CharField(max_length=80)
    sample = models.IntegerField()
    reward = models.FloatField(null=True)
    parts = models.JSONField(default=dict)
    advantage = models.FloatField(null=True)
    trained = models.BooleanField(default=False)
    turns = models.IntegerField()
    tool_calls = models.IntegerField()
    tokens = models.IntegerField()
    total_tokens = models.IntegerField()
    stop = models.CharField(max_length=20)
    packed_flags = models.CharField(max_length=200, blank=True)
    credit = models.JSONField(null=True)
    """A `CreditSummary`; null where nothing was trained, and in rows from before it was kept."""
    packed_tools = models.CharField(max_length=2000, blank=True)
    cause = models.TextField(blank=True)
    excerpt = models.TextField(blank=True)
    seconds = models.FloatField(default=0.0)
    bodies = models.CharField(max_length=200)
    offset = models.BigIntegerField()
    length = models.IntegerField()

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["run", "step", "split", "uid"], name="trajectory_once")
        ]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["run", "id"], name="trajectories_in_order"),
            models.Index(fields=["run", "step", "split", "id"], name="trajectories_of_step"),
            models.Index(fields=["run", "row", "-step", "id"], name="trajectories_of_task"),
            models.Index(fields=["run", "-step", "id"], name="trajectories_newest_first"),
            models.Index(fields=["run", "split", "-step", "id"], name="trajectories_of_split"),
            models.Index(fields=["run", "reward", "id"], name="trajectories_by_reward"),
            models.Index(fields=["run", "tokens", "id"], name="trajectories_by_tokens"),
            models.Index(fields=["run", "tool_calls", "id"], name="trajectories_by_calls"),
            models.Index(fields=["run", "group"], name="trajectories_of_group"),
            models.Index(
                fields=["run", "-step", "id"],
                condition=models.Q(reward=None),
                name="trajectories_ungraded",
            ),
        ]

    def __str__(self) -> str:
        return self.uid

    @property
    def group_id(self) -> str:
        """Names the group among all of the job, as the address of its page does."""
        return f"{self.step}-{self.split}-{self.group}"

    @property
    def flags(self) -> list[str]:
        return [word for word in self.packed_flags.split(SEPARATOR) if word]

    @property
    def tools(self) -> list[str]:
        return [word for word in self.packed_tools.split(SEPARATOR) if word]
