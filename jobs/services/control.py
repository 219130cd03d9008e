"""What the owner of a job may do while it is not final: cancel, pause, resume."""

from __future__ import annotations

from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Now

from hone.accounts.models import User
from hone.accounts.services import audit_record
from hone.core.errors import UserError
from jobs.models import LEADING, Desired, Job, Run, Status
from jobs.selectors.access import access_job
from jobs.services.bell import ring
from jobs.services.ending import subject
from jobs.services.state import event_record, last_step, run_move

WAITING = frozenset({Status.VALIDATING_FILES, Status.QUEUED, Status.PAUSED})


def job_cancel(*, acting_user: User, job: Job) -> Job:
    """Cancel: at once where no engine works, else as soon as the engine has stopped."""
    return _end(acting_user, job, Desired.CANCEL, Status.CANCELLED)


def job_pause(*, acting_user: User, job: Job) -> Job:
    """Pause now: the last whole step stands, and the step in hand is made again on resuming."""
    return _end(acting_user, job, Desired.PAUSE, Status.PAUSED)


def job_resume(*, acting_user: User, job: Job) -> Job:
    """Queue a paused job again; it goes on from its last checkpoint."""
    job = access_job(acting_user, job.pk, need="write")
    run = _run(job)
    with transaction.atomic():
        if not run_requeue(run.pk):
            if run.status == Status.RUNNING and _unwant_pause(run):
                _note(acting_user, job, "resume")
                return access_job(acting_user, job.pk)
            raise _refusal(job, "resumed")
        _note(acting_user, job, "resume")
        event_record(
            job_id=job.pk,
            run_id=run.pk,
            code="resumed",
            text=f"{subject(run.kind)} was resumed.",
            step=last_step(run.pk),
        )
        ring(run.pk)
    return access_job(acting_user, job.pk)


def run_requeue(run_id: str) -> bool:
    """Paused → queued; False where the run is not paused."""
    fields = {
        "desired": Desired.RUN,
        "pause_reason": "",
        "pause_text": "",
        "paused_by": None,
        "probe_at": None,
        "deaths": 0,
    }
    return run_move(run_id, Status.QUEUED, sources=frozenset({Status.PAUSED}), run_fields=fields)


def run_settle(run_id: str) -> bool:
    """Give a run that nobody holds the state that its owner wanted; False where not needed."""
    run = Run.objects.filter(pk=run_id, status=Status.RUNNING).first()
    if run is None or run.desired == Desired.RUN or not _unheld(run_id):
        return False
    to = Status.CANCELLED if run.desired == Desired.CANCEL else Status.PAUSED
    return _settle(run, run.desired, to)


def _end(acting_user: User, job: Job, desired: str, to: str) -> Job:
    job = access_job(acting_user, job.pk, need="write")
    with transaction.atomic():
        run = _run(job)
        if not run_end(run, desired, to):
            raise _refusal(job, "cancelled" if desired == Desired.CANCEL else "paused")
        if desired == Desired.PAUSE:
            Run.objects.filter(pk=run.pk).update(paused_by=acting_user)
        _note(acting_user, job, desired)
    return access_job(acting_user, job.pk)


def run_end(run: Run, desired: str, to: str) -> bool:
    """End a run at once or ask its holder to; False where its state does not allow it."""
    with transaction.atomic():
        Run.objects.select_for_update().get(pk=run.pk)
        running = Run.objects.filter(pk=run.pk, status=Status.RUNNING)
        if desired == Desired.PAUSE:
            running = running.exclude(desired=Desired.CANCEL)
        asked = running.update(desired=desired)
        moved = _settle(run, desired, to)
    return bool(asked) or moved


def _settle(run: Run, desired: str, to: str) -> bool:
    """Move the run at once where no engine can be at work on it."""
    fields: dict[str, object] = {"desired": desired}
    if to == Status.PAUSED:
        fields |= {"pause_reason": "asked", "pause_text": "", "probe_at": None}
    sources = set(WAITING)
    if _unheld(run.pk):
        sources.add(Status.RUNNING)
    with transaction.atomic():
        moved = run_move(run.pk, to, sources=frozenset(sources), run_fields=fields)
        if moved:
            text = f"{subject(run.kind)} was {'cancelled' if to == Status.CANCELLED else 'paused'}."
            step = last_step(run.pk)
            event_record(job_id=run.job_id, run_id=run.pk, code=str(to), text=text, step=step)
    return moved


def _unheld(run_id: str) -> bool:
    expired = Q(lease_until__isnull=True) | Q(lease_until__lt=Now())
    return Run.objects.filter(expired, pk=run_id, status=Status.RUNNING).exists()


def _unwant_pause(run: Run) -> bool:
    pausing = Run.objects.filter(pk=run.pk, status=Status.RUNNING, desired=Desired.PAUSE)
    return bool(pausing.update(desired=Desired.RUN, paused_by=None))


def _run(job: Job) -> Run:
    return Run.objects.get(job=job, kind__in=LEADING)


def _note(acting_user: User, job: Job, action: str) -> None:
    audit_record(
        acting_user=acting_user,
        organisation=job.organisation,
        action=f"job.{action}",
        target=job.pk,
    )


def _refusal(job: Job, participle: str) -> UserError:
    job.refresh_from_db()
    return UserError(
        f"{job.pk} is {job.get_status_display().lower()} and cannot be {participle}.",
        code="wrong_state",
    )
