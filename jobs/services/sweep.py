"""What the sweeper does: rings for runs that nobody holds, settles and wakes others."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from django.db import transaction
from django.db.models import Q, QuerySet
from django.db.models.functions import Now

from jobs.models import Desired, Run, Status
from jobs.models.clock import seconds_from_now
from jobs.services.bell import ring, ring_missing
from jobs.services.control import run_requeue, run_settle
from jobs.services.models_list import base_models_ring
from jobs.services.probe import run_probe
from jobs.services.state import event_record, last_step
from jobs.services.tuning import periods

PROBES_AT_ONCE = 8


@dataclass(frozen=True)
class Swept:
    """How many runs were rung for, settled and woken, and downloads rung for."""

    rung: int
    settled: int
    woken: int
    downloads: int


def sweep() -> Swept:
    """One look at all runs. Any number of sweepers may look at once.

    Probes come last: they wait for machines of others, and no run waits for them.
    """
    settled = sum(run_settle(run_id) for run_id in _unheld().exclude(desired=Desired.RUN))
    rung = ring_missing(list(_unheld().filter(desired=Desired.RUN)))
    downloads = base_models_ring()
    return Swept(rung, settled, _wake_due(), downloads)


def _unheld() -> QuerySet[Run, str]:
    free = Q(lease_until__isnull=True) | Q(lease_until__lt=Now())
    return (
        Run.objects.filter(free, status__in=(Status.QUEUED, Status.RUNNING))
        .order_by("created_at", "pk")
        .values_list("pk", flat=True)
    )


def _wake_due() -> int:
    """Probe what paused runs wait for, some at once, and let those go on that may."""
    due = Run.objects.filter(status=Status.PAUSED, probe_at__lt=Now(), desired=Desired.RUN)
    claimed = [
        run
        for run in due.select_related("job").order_by("probe_at", "pk")[:PROBES_AT_ONCE]
        # Of several sweepers, the one that moves the time probes.
        if due.filter(pk=run.pk).update(probe_at=seconds_from_now(periods().probe))
    ]
    if not claimed:
        return 0
    with ThreadPoolExecutor(PROBES_AT_ONCE) as pool:
        answers = list(pool.map(run_probe, claimed))
    return sum(_wake(run) for run, answers_now in zip(claimed, answers, strict=True) if answers_now)


def _wake(run: Run) -> bool:
    with transaction.atomic():
        if not run_requeue(run.pk):
            return False
        event_record(
            job_id=run.job_id,
            run_id=run.pk,
            code="woken",
            text="What was waited for answers again; it goes on.",
            step=last_step(run.pk),
        )
        ring(run.pk)
    return True
