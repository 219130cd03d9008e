"""The one place where the status of a run and of its job changes: conditional updates."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now

from jobs.models import FINAL, LEADING, TRANSITIONS, Job, JobEvent, Run, RunKind
from jobs.models.states import IllegalTransition
from jobs.services.bell import ring_export
from jobs.services.plain import plain, plain_text


def run_move(
    run_id: str,
    to: str,
    *,
    epoch: int | None = None,
    sources: frozenset[str] | None = None,
    run_fields: dict[str, Any] | None = None,
    job_fields: dict[str, Any] | None = None,
) -> bool:
    """Move a run, and with a leading run its job, to a status; False where it may not.

    With `epoch`, only its holder moves it. Without, the epoch grows, so that a holder which is
    still at work is fenced off. `sources` narrows the states that it may come from.
    """
    may_come_from = {before for before, after in TRANSITIONS.items() if to in after}
    if sources is not None:
        may_come_from &= sources
    rows = Run.objects.filter(pk=run_id, status__in=may_come_from)
    fields: dict[str, Any] = {"status": to, "lease_until": None, "holder": ""}
    if epoch is None:
        fields["epoch"] = F("epoch") + 1
    else:
        rows = rows.filter(epoch=epoch)
    with transaction.atomic():
        if not rows.update(**{**fields, **(run_fields or {})}):
            return False
        run = Run.objects.only("kind", "job_id").get(pk=run_id)
        if run.kind in LEADING:
            _job_follows(run.job_id, to, may_come_from, job_fields or {})
        if run.kind == RunKind.TRAIN and to in FINAL:
            ring_export(run.job_id)
    return True


def _job_follows(job_id: str, to: str, sources: set[str], fields: dict[str, Any]) -> None:
    if to in FINAL:
        fields = {"finished_at": Now(), **fields}
    if not Job.objects.filter(pk=job_id, status__in=sources).update(status=to, **fields):
        status = Job.objects.values_list("status", flat=True).get(pk=job_id)
        raise IllegalTransition(job_id, status, to)


def last_step(run_id: str) -> int | None:
    """The last step that a run committed, as events name it; None before step 0."""
    step = Run.objects.values_list("last_step", flat=True).get(pk=run_id)
    return step if step >= 0 else None


def event_record(
    *,
    job_id: str,
    text: str,
    run_id: str | None = None,
    level: str = "info",
    code: str = "",
    data: dict[str, Any] | None = None,
    step: int | None = None,
) -> None:
    """Add a line to the job's history."""
    JobEvent.objects.create(
        job_id=job_id,
        run_id=run_id,
        level=level,
        code=code[:60],
        text=plain_text(text),
        data=plain(data or {}),
        step=step,
    )
