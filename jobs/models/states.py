"""The states of a job and of its runs, and which may follow which."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Self

from django.db import models


class Status(models.TextChoices):
    """A running job whose lease ran out is still running: another worker takes over."""

    VALIDATING_FILES = "validating_files", "Checking files"
    QUEUED = "queued", "Queued"
    RUNNING = "running", "Running"
    PAUSED = "paused", "Paused"
    SUCCEEDED = "succeeded", "Succeeded"
    FAILED = "failed", "Failed"
    CANCELLED = "cancelled", "Cancelled"


TRANSITIONS: dict[str, frozenset[str]] = {
    Status.VALIDATING_FILES: frozenset({Status.QUEUED, Status.FAILED, Status.CANCELLED}),
    Status.QUEUED: frozenset({Status.RUNNING, Status.PAUSED, Status.FAILED, Status.CANCELLED}),
    Status.RUNNING: frozenset({Status.PAUSED, Status.SUCCEEDED, Status.FAILED, Status.CANCELLED}),
    Status.PAUSED: frozenset({Status.QUEUED, Status.FAILED, Status.CANCELLED}),
    Status.SUCCEEDED: frozenset(),
    Status.FAILED: frozenset(),
    Status.CANCELLED: frozenset(),
}

FINAL = frozenset(status for status, after in TRANSITIONS.items() if not after)
OPEN = sorted(status for status, after in TRANSITIONS.items() if after)


class Desired(models.TextChoices):
    """What the owner wants of a run; the supervisor relays it to the engine."""

    RUN = "run", "Run"
    PAUSE = "pause", "Pause"
    CANCEL = "cancel", "Cancel"


class PauseReason(models.TextChoices):
    """Why a run is paused."""

    ASKED = "asked", "Paused by a person"
    TOOL_UNAVAILABLE = "tool_unavailable", "A tool does not answer"
    GRADER_UNAVAILABLE = "grader_unavailable", "A grader does not answer"
    SAMPLER_UNAVAILABLE = "sampler_unavailable", "The sampling server does not answer"
    DISK_FULL = "disk_full", "The disk is full"
    STORAGE_UNAVAILABLE = "storage_unavailable", "The file storage does not answer"
    FILES_MISSING = "files_missing", "Files of the run are missing"
    TOO_SLOW = "too_slow", "Most attempts ran out of time"


PROBED_PAUSES = frozenset(
    {
        PauseReason.TOOL_UNAVAILABLE,
        PauseReason.GRADER_UNAVAILABLE,
        PauseReason.SAMPLER_UNAVAILABLE,
        PauseReason.DISK_FULL,
        PauseReason.STORAGE_UNAVAILABLE,
    }
)
"""Pauses that end by themselves: the sweeper looks again and lets the run go on."""


class IllegalTransition(ValueError):
    """A state was to follow one that it may not follow."""

    def __init__(self, what: str, before: str, after: str) -> None:
        super().__init__(f"{what} is {before} and cannot become {after}.")


class RunKind(models.TextChoices):
    """What the engine is started for."""

    TRAIN = "train", "Train"
    EVALUATE = "evaluate", "Evaluate"
    PREFLIGHT = "preflight", "Preflight"
    REPLAY = "replay", "Replay"
    PLAYGROUND = "playground", "Playground"


LEADING = (RunKind.TRAIN, RunKind.PREFLIGHT, RunKind.PLAYGROUND)
"""Kinds of the run whose state is its job's; a job has exactly one such run."""


class Stateful(models.Model):
    """A row with a status that moves along `TRANSITIONS` only; saving checks it.

    Changes of state go through conditional updates (`jobs.services.state`); this check is the
    second lock, for code that saves a loaded row.
    """

    status = models.CharField(max_length=20, choices=Status.choices, default=Status.QUEUED)
    _status_in_db: str | None = None

    class Meta:
        abstract = True

    @property
    def is_final(self) -> bool:
        return self.status in FINAL

    @classmethod
    def from_db(
        cls, db: str | None, field_names: Collection[str], values: Collection[Any], **options: Any
    ) -> Self:
        row = super().from_db(db, field_names, values, **options)
        row._status_in_db = row.__dict__.get("status")
        return row

    def refresh_from_db(self, *args: Any, **kwargs: Any) -> None:
        super().refresh_from_db(*args, **kwargs)
        self._status_in_db = self.__dict__.get("status")

    def save(self, *args: Any, **kwargs: Any) -> None:
        before = self._status_in_db
        if before not in {None, self.status} and self.status not in TRANSITIONS[str(before)]:
            raise IllegalTransition(str(self.pk), str(before), self.status)
        super().save(*args, **kwargs)
        self._status_in_db = self.status
