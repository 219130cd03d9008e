"""What a job's alarms told: each rule once, with its newest evidence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.contrib.auth.models import AnonymousUser
from django.db.models import Count, Max, Min, OuterRef, Q, Subquery, Window
from django.db.models.functions import RowNumber

from hone.accounts.models import User
from jobs.engine.alarms import ALARMS
from jobs.models import AlarmSeen, Checkpoint, Job, JobEvent, PauseReason, RunKind

Person = User | AnonymousUser


@dataclass(frozen=True)
class Raised:
    """One rule that fired: steps between which it was told, how often, and the newest words."""

    code: str
    first: int
    last: int
    count: int
    text: str
    data: dict[str, Any]
    seen: int | None = None
    """The last step up to which the person who looks has seen it."""

    @property
    def is_quiet(self) -> bool:
        """Whether it told nothing since it was seen."""
        return self.seen is not None and self.seen >= self.last


def seen_step(person: Person) -> Subquery:
    """Of a row of events: the step up to which the person has seen what its rule told."""
    rows = AlarmSeen.objects.filter(job=OuterRef("job"), rule=OuterRef("code"))
    return Subquery(rows.filter(user=person.pk).values("step")[:1])


def job_alarms(job: Job, person: Person) -> list[Raised]:
    """The rules that fired: what the person has not seen first, then the newest; one query."""
    told = JobEvent.objects.filter(job=job, code__in=list(ALARMS), step__isnull=False)
    newest = told.annotate(
        first=Window(Min("step"), partition_by="code"),
        last=Window(Max("step"), partition_by="code"),
        n=Window(Count("pk"), partition_by="code"),
        place=Window(RowNumber(), order_by="-pk", partition_by="code"),
    ).filter(place=1)
    raised = [
        Raised(
            code=event.code,
            first=event.first,
            last=event.last,
            count=event.n,
            text=event.text,
            data=event.data,
            seen=event.seen,
        )
        for event in newest.annotate(seen=seen_step(person)).order_by("-pk")
    ]
    return sorted(raised, key=lambda each: each.is_quiet)


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
    """The steps whose checkpoints stay: for their reward, or because a person wants it."""
    rows = Checkpoint.objects.filter(run__job=job, run__kind=RunKind.TRAIN, available=True)
    rows = rows.filter(Q(kept=True) | Q(pinned=True))
    return list(rows.order_by("step").values_list("step", flat=True))
