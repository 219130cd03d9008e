"""What stands out in a job's history: each alarm once with its newest evidence, and the halts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.contrib.auth.models import AnonymousUser
from django.db.models import Case, Count, Max, Min, OuterRef, Q, Subquery, When, Window
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


PAUSES = ("paused", *(reason for reason in PauseReason.values if reason != PauseReason.ASKED))
RESUMES = ("resumed", "woken")
MOST_HALTS = 60


@dataclass(frozen=True)
class Told:
    """What stands out in a job's history. `alarms`: the rules that fired, those that the
    person has not seen first, then the newest.

    Steps are in order: those after which the job paused, those after which it was let go on, and
    those whose checkpoints are kept. What was told without a step is not among them.
    """

    alarms: list[Raised]
    paused: list[int]
    resumed: list[int]
    kept: list[int]


def job_told(job: Job, person: Person) -> Told:
    """The alarms by rule, the newest pauses and resumptions, and what is kept; two queries."""
    events = list(_events(job, person))
    halts = [event for event in events if event.code not in ALARMS][:MOST_HALTS][::-1]
    alarms = [_raised(event) for event in events if event.code in ALARMS]
    return Told(
        alarms=sorted(alarms, key=lambda each: each.is_quiet),
        paused=[event.step for event in halts if event.code in PAUSES and event.step is not None],
        resumed=[event.step for event in halts if event.code in RESUMES and event.step is not None],
        kept=kept_steps(job),
    )


def kept_steps(job: Job) -> list[int]:
    """The steps whose checkpoints stay: for their reward, or because a person wants it."""
    rows = Checkpoint.objects.filter(run__job=job, run__kind=RunKind.TRAIN, available=True)
    rows = rows.filter(Q(kept=True) | Q(pinned=True))
    return list(rows.order_by("step").values_list("step", flat=True))


def _raised(event: Any) -> Raised:
    return Raised(
        code=event.code,
        first=event.first,
        last=event.last,
        count=event.times,
        text=event.text,
        data=event.data,
        seen=event.seen,
    )


def _events(job: Job, person: Person) -> Iterable[Any]:
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
    newest = told.annotate(**of_code, age=age).filter(age__lte=most)
    return newest.annotate(seen=seen_step(person)).order_by("-pk")
