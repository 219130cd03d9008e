"""Who may work on a run, and what only its holder may write.

Every write is one transaction that begins with a conditional update on `(run, epoch)`: zero rows
mean that another holder exists, and nothing of the transaction remains.
"""

from __future__ import annotations

from dataclasses import dataclass

from django.db import transaction
from django.db.models import Case, F, Q, QuerySet, Value, When
from django.db.models.functions import Coalesce, Now

from jobs.engine import events
from jobs.errors import Fenced
from jobs.models import LEADING, Desired, Job, Run, Status
from jobs.models.clock import seconds_from_now
from jobs.services.state import event_record
from jobs.services.tuning import periods


@dataclass(frozen=True)
class Lease:
    """The right to work on a run until it expires; `epoch` is the fence."""

    run_id: str
    job_id: str
    kind: str
    epoch: int
    last_step: int
    deaths: int
    """Deaths at `last_step`, the one that this acquisition recovers from included."""
    engine_seconds: float
    """What earlier epochs used."""
    stale_host: str
    stale_pgid: int | None
    stale_start: str
    """The process group of the holder before, which may be alive still."""


def run_acquire(run_id: str, *, holder: str, host: str) -> Lease | None:
    """Take the lease if the run wants to run and nobody holds it; None for who loses the race."""
    died = Case(When(holder="", then=Value(0)), default=Value(1))
    with transaction.atomic():
        before = Run.objects.select_for_update().filter(pk=run_id).first()
        won = (
            Run.objects.filter(
                pk=run_id, status__in=(Status.QUEUED, Status.RUNNING), desired=Desired.RUN
            )
            .filter(Q(lease_until__isnull=True) | Q(lease_until__lt=Now()))
            .update(
                epoch=F("epoch") + 1,
                deaths=F("deaths") + died,
                infra_attempts=F("infra_attempts") + died,
                holder=holder,
                host=host,
                pgid=None,
                process_start="",
                lease_until=seconds_from_now(periods().lease),
                status=Status.RUNNING,
            )
        )
        if not won or before is None:
            return None
        run = Run.objects.select_related("job").get(pk=run_id)
        if run.kind in LEADING:
            Job.objects.filter(pk=run.job_id, status=Status.QUEUED).update(
                status=Status.RUNNING, started_at=Coalesce("started_at", Now())
            )
    return Lease(
        run_id=run.pk,
        job_id=run.job_id,
        kind=run.kind,
        epoch=run.epoch,
        last_step=run.last_step,
        deaths=run.deaths,
        engine_seconds=run.job.engine_seconds,
        stale_host=before.host,
        stale_pgid=before.pgid,
        stale_start=before.process_start,
    )


def run_renew(lease: Lease) -> str | None:
    """Extend the lease; what the owner wants now, or None where the lease is lost."""
    if not _held(lease).update(lease_until=seconds_from_now(periods().lease)):
        return None
    return run_desired(lease)


def run_desired(lease: Lease) -> str | None:
    """What the owner wants of the run, or None where the lease is lost."""
    return _held(lease).values_list("desired", flat=True).first()


def run_release(lease: Lease, *, died: bool = False, wait_s: float = 0.0) -> bool:
    """Give the run back, so that another worker takes it at once, or after `wait_s`."""
    return bool(
        _held(lease).update(
            holder="",
            pgid=None,
            lease_until=seconds_from_now(wait_s) if wait_s else None,
            deaths=F("deaths") + int(died),
            infra_attempts=F("infra_attempts") + int(died),
            progress={},
        )
    )


def run_note_process(lease: Lease, *, pgid: int, process_start: str) -> None:
    """Write down the engine's process group, for a next holder to find it; raises Fenced."""
    fence(lease, pgid=pgid, process_start=process_start)


def run_note_progress(lease: Lease, progress: events.Progress) -> None:
    """Show where the engine is inside a step; raises Fenced."""
    fence(
        lease,
        progress={
            "step": progress.step,
            "phase": progress.phase,
            "done": progress.done,
            "total": progress.total,
        },
    )


def run_note_message(lease: Lease, message: events.Message, step: int | None = None) -> None:
    """Add the engine's message to the job's history; raises Fenced."""
    with transaction.atomic():
        fence(lease, epoch=lease.epoch)
        event_record(
            job_id=lease.job_id,
            run_id=lease.run_id,
            level=message.level,
            code=message.code,
            text=message.text,
            data=message.data,
            step=step,
        )


def fence(lease: Lease, **fields: object) -> None:
    """Write fields of the run if the lease still holds; raises Fenced."""
    if not _held(lease).update(**fields):
        raise Fenced(lease.run_id, lease.epoch)


def _held(lease: Lease) -> QuerySet[Run]:
    """The run while this lease is in force: a run that was given back has no holder."""
    rows = Run.objects.filter(pk=lease.run_id, epoch=lease.epoch, status=Status.RUNNING)
    return rows.exclude(holder="")
