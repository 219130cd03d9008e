"""What the sweeper does: rings for runs that nobody holds, settles and wakes others."""

from __future__ import annotations

from dataclasses import dataclass

from django.db.models import Q, QuerySet
from django.db.models.functions import Now

from jobs.models import Desired, Run, Status
from jobs.models.clock import seconds_from_now
from jobs.services.bell import TRAIN, send
from jobs.services.control import run_requeue, run_settle
from jobs.services.models_list import base_models_ring
from jobs.services.probe import run_probe
from jobs.services.state import event_record
from jobs.services.tuning import periods


@dataclass(frozen=True)
class Swept:
    """How many runs were rung for, settled and woken, and downloads rung for."""

    rung: int
    settled: int
    woken: int
    downloads: int


def sweep() -> Swept:
    """One look at all runs. Any number of sweepers may look at once."""
    settled = sum(run_settle(run_id) for run_id in _unheld().exclude(desired=Desired.RUN))
    woken = sum(_wake(run_id) for run_id in _to_probe())
    rung = sum(send(TRAIN, run_id) for run_id in _unheld().filter(desired=Desired.RUN))
    return Swept(rung, settled, woken, base_models_ring())


def _unheld() -> QuerySet[Run, str]:
    free = Q(lease_until__isnull=True) | Q(lease_until__lt=Now())
    return (
        Run.objects.filter(free, status__in=(Status.QUEUED, Status.RUNNING))
        .order_by("created_at", "pk")
        .values_list("pk", flat=True)
    )


def _to_probe() -> list[str]:
    due = Run.objects.filter(status=Status.PAUSED, probe_at__lt=Now(), desired=Desired.RUN)
    return list(due.values_list("pk", flat=True))


def _wake(run_id: str) -> bool:
    """Probe what a run waits for; let it go on, or look again after a while."""
    claimed = Run.objects.filter(pk=run_id, status=Status.PAUSED, probe_at__lt=Now())
    if not claimed.update(probe_at=seconds_from_now(periods().probe)):
        return False
    run = Run.objects.select_related("job").get(pk=run_id)
    if not run_probe(run) or not run_requeue(run_id):
        return False
    event_record(
        job_id=run.job_id,
        run_id=run_id,
        code="woken",
        text="What the job waited for answers again; it goes on.",
    )
    return True
