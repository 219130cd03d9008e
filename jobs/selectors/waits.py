"""Why a job stands still: what it waits for, who paused it, and what is kept of it meanwhile."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Now

from jobs.models import LEADING, Checkpoint, Job, JobEvent, PauseReason, Run, Status
from jobs.selectors.attention import PAUSES

Named = tuple[str, str]
"""Id and name of a job."""


@dataclass(frozen=True)
class Kept:
    """The newest checkpoint that may be used."""

    step: int
    verified_at: datetime | None


@dataclass(frozen=True)
class Pause:
    """Why a job is paused and since when. `code` is its `PauseReason`."""

    code: str
    by: str
    """The person who asked; empty where nobody did."""
    text: str
    since: datetime | None
    is_probed: bool
    """What it waits for is looked at again and again, and lets it go on."""


@dataclass(frozen=True)
class Queue:
    """What stands between a queued job and a worker. Jobs of other organisations are counted."""

    place: int
    ahead: list[Named]
    busy: list[Named]
    """What workers are at work on. A worker without work leaves no trace to be found."""
    others_ahead: int
    others_busy: int

    @property
    def at_work(self) -> int:
        """How many workers have something to do."""
        return len(self.busy) + self.others_busy


def with_halt(runs: QuerySet[Run]) -> QuerySet[Run]:
    """Adds when a run stopped last, and the newest of its checkpoints that may be used."""
    told = JobEvent.objects.filter(job=OuterRef("job"), run=OuterRef("pk"), code__in=PAUSES)
    good = Checkpoint.objects.filter(run=OuterRef("pk"), available=True).order_by("-step")
    return runs.select_related("paused_by").annotate(
        halted_at=Subquery(told.order_by("-pk").values("created_at")[:1]),
        kept_step=Subquery(good.values("step")[:1]),
        kept_verified_at=Subquery(good.values("verified_at")[:1]),
    )


def kept_of(run: Any) -> Kept | None:
    """Of a run as `with_halt` reads it."""
    return None if run.kept_step is None else Kept(run.kept_step, run.kept_verified_at)


def pause_of(job: Job, run: Any) -> Pause | None:
    """Of a run as `with_halt` reads it; None where it is not paused."""
    if run.status != Status.PAUSED:
        return None
    is_asked = run.pause_reason == PauseReason.ASKED
    who = run.paused_by if is_asked else None
    # A recording misses the same calls every time: nothing is asked that could answer again.
    waits_for_nothing = run.pause_reason == PauseReason.TOOL_UNAVAILABLE and job.spec.get(
        "recording"
    )
    return Pause(
        code=run.pause_reason,
        by=(who.name or who.email) if who is not None else "",
        text=run.pause_text,
        since=run.halted_at,
        is_probed=run.probe_at is not None and not waits_for_nothing,
    )


def queue_of(job: Job) -> Queue | None:
    """None for a job that is not queued; one query."""
    if job.status != Status.QUEUED:
        return None
    rows = Run.objects.filter(_ahead(job.pk, job.created_at) | _held())
    found = list(
        rows.order_by("job__created_at", "job_id").values_list(
            "status", "job__organisation_id", "job_id", "job__name"
        )
    )
    ahead = [each for each in found if each[0] == Status.QUEUED]
    busy = [each for each in found if each[0] != Status.QUEUED]
    mine = job.organisation_id
    return Queue(
        place=1 + len(ahead),
        ahead=[(pk, name) for _, owner, pk, name in ahead if owner == mine],
        busy=[(pk, name) for _, owner, pk, name in busy if owner == mine],
        others_ahead=sum(owner != mine for _, owner, _, _ in ahead),
        others_busy=sum(owner != mine for _, owner, _, _ in busy),
    )


def queue_mark(job: Job) -> str:
    """What changes whenever `queue_of` may tell something else; empty where it tells nothing."""
    queue = queue_of(job)
    return f"queue.{queue.place}.{queue.at_work}" if queue else ""


def _ahead(job_id: str, created_at: datetime) -> Q:
    older = Q(job__created_at__lt=created_at) | Q(job__created_at=created_at, job_id__lt=job_id)
    return Q(older, job__status=Status.QUEUED, kind__in=LEADING)


def _held() -> Q:
    return Q(status=Status.RUNNING, lease_until__gte=Now()) & ~Q(holder="")
