"""Which alarms a person has looked at already."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.db import models

from jobs.models.job import Job


class AlarmSeen(models.Model):
    """What a rule told up to `step` is known to this person; what it tells later is news again."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="alarms_seen")
    rule = models.CharField(max_length=60)
    step = models.IntegerField()

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["job", "user", "rule"], name="alarm_seen_once")
        ]

    def __str__(self) -> str:
        return f"{self.rule} of {self.job_id} up to step {self.step} by {self.user_id}"
