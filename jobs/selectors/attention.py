"""What a job's alarms told: each rule once, with its newest evidence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db.models import Count, Max, Min

from jobs.engine.alarms import ALARMS
from jobs.models import Checkpoint, Job, JobEvent, PauseReason, RunKind


@dataclass(frozen=True)
class Raised:
    """One rule that fired: steps between which it was told, how often, and the newest words."""

    code: str
    first: int
    last: int
    count: int
    text: str
    data: dict[str, Any]


def job_alarms(job: Job) -> list[Raised]:
    """The rules that fired, the newest first; two queries at most."""
    told = JobEvent.objects.filter(job=job, code__in=list(ALARMS), step__isnull=False)
    rows = (
        told.order_by()
        .values("code")
        .annotate(first=Min("step"), last=Max("step"), n=Count("pk"), newest=Max("pk"))
    )
    found = {row["newest"]: row for row in rows}
    if not found:
        return []
    events = JobEvent.objects.filter(pk__in=list(found)).order_by("-pk")
    return [
        Raised(
            code=event.code,
            first=found[event.pk]["first"],
            last=found[event.pk]["last"],
            count=found[event.pk]["n"],
            text=event.text,
            data=event.data,
        )
        for event in events
    ]


PAUSES = ("paused", *(reason for reason in PauseReason.values if reason != PauseReason.ASKED))
RESUMES = ("resumed", "woken")
MOST_HALTS = 60


@dataclass(frozen=True)
class Halts:
    """After which steps the job paused, and after which it was let go on; oldest first."""

    paused: list[int]
    resumed: list[int]


def job_halts(job: Job) -> Halts:
    """The newest pauses and resumptions of a job's training; those told without a step are not
    among them."""
    told = JobEvent.objects.filter(job=job, code__in=(*PAUSES, *RESUMES), step__isnull=False)
    rows = told.filter(run__kind=RunKind.TRAIN).order_by("-pk").values_list("code", "step")
    found = list(rows[:MOST_HALTS])[::-1]
    return Halts(
        paused=[step for code, step in found if code in PAUSES and step is not None],
        resumed=[step for code, step in found if code in RESUMES and step is not None],
    )


def kept_steps(job: Job) -> list[int]:
    """The steps whose checkpoints are kept."""
    rows = Checkpoint.objects.filter(run__job=job, run__kind=RunKind.TRAIN, kept=True)
    return list(rows.order_by("step").values_list("step", flat=True))
