"""What stands out in a job's history: each alarm once with its newest evidence, and the halts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.db.models import Case, Count, Max, Min, Q, When, Window
from django.db.models.functions import RowNumber

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


PAUSES = ("paused", *(reason for reason in PauseReason.values if reason != PauseReason.ASKED))
RESUMES = ("resumed", "woken")
MOST_HALTS = 60


@dataclass(frozen=True)
class Told:
    """What stands out in a job's history. `alarms`: the rules that fired, the newest first.

    Steps are in order: those after which the job paused, those after which it was let go on, and
    those whose checkpoints are kept. What was told without a step is not among them.
    """

    alarms: list[Raised]
    paused: list[int]
    resumed: list[int]
    kept: list[int]


def job_told(job: Job) -> Told:
    """The alarms by rule, the newest pauses and resumptions, and what is kept; two queries."""
    events = list(_events(job))
    halts = [event for event in events if event.code not in ALARMS][:MOST_HALTS][::-1]
    kept = Checkpoint.objects.filter(run__job=job, run__kind=RunKind.TRAIN, kept=True)
    return Told(
        alarms=[
            Raised(event.code, event.first, event.last, event.times, event.text, event.data)
            for event in events
            if event.code in ALARMS
        ],
        paused=[event.step for event in halts if event.code in PAUSES and event.step is not None],
        resumed=[event.step for event in halts if event.code in RESUMES and event.step is not None],
        kept=list(kept.order_by("step").values_list("step", flat=True)),
    )


def _events(job: Job) -> Iterable[Any]:
    """The newest event of each alarm, with all those of its code counted, and the newest halts."""
    alarm = Q(code__in=list(ALARMS))
    halt = Q(code__in=(*PAUSES, *RESUMES), run__kind=RunKind.TRAIN)
    told = JobEvent.objects.filter(alarm | halt, job=job, step__isnull=False)
    of_code = {
        name: Window(counted, partition_by="code")
        for name, counted in (
            ("first", Min("step")),
            ("last", Max("step")),
            ("times", Count("pk")),
        )
    }
    age = Window(RowNumber(), partition_by="code", order_by="-pk")
    most = Case(When(alarm, then=1), default=MOST_HALTS)
    return told.annotate(**of_code, age=age).filter(age__lte=most).order_by("-pk")
