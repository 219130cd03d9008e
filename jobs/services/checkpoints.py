"""What people do to checkpoints: keep, let go, delete, verify. Each leaves an audit row."""

from __future__ import annotations

from functools import partial

from django.db import transaction
from django.db.models.functions import Now

from hone.accounts.models import User
from hone.accounts.services import audit_record
from hone.core.errors import UserError
from jobs.models import Adapter, Checkpoint, Job, Run, run_folder
from jobs.selectors.access import access_checkpoint, access_job
from jobs.selectors.adapters import ASIDE, checkpoint_damage
from jobs.selectors.checkpoints import forks_waiting, why_not_deleted
from jobs.services.artifacts import checkpoints_delete
from jobs.services.lease import Lease, fence
from jobs.services.state import event_record

CORRUPT = "checkpoint_corrupt"
"""The engine's code for a checkpoint that is not what its manifest says."""


def checkpoint_pin(*, acting_user: User, checkpoint: Checkpoint) -> Checkpoint:
    """Keep it whatever it is worth. Nothing prunes it from now on, also while the job runs."""
    job, checkpoint = _found(acting_user, checkpoint)
    with transaction.atomic():
        _alone(checkpoint)
        usable = Checkpoint.objects.filter(pk=checkpoint.pk, available=True)
        if not usable.update(pinned=True):
            raise _gone(checkpoint)
        _note(acting_user, job, checkpoint, "keep")
    checkpoint.refresh_from_db()
    return checkpoint


def checkpoint_unpin(*, acting_user: User, checkpoint: Checkpoint) -> Checkpoint:
    """Let it go: it stays as long as it is among the best or the newest of a job at work."""
    job, checkpoint = _found(acting_user, checkpoint)
    with transaction.atomic():
        _alone(checkpoint)
        _refuse_if_awaited(checkpoint, "let go")
        Checkpoint.objects.filter(pk=checkpoint.pk).update(pinned=False)
        _note(acting_user, job, checkpoint, "let_go")
    checkpoint.refresh_from_db()
    return checkpoint


def checkpoint_delete(*, acting_user: User, checkpoint: Checkpoint) -> None:
    """Free its room on the disk, for good. Refused while anything needs its files."""
    job, checkpoint = _found(acting_user, checkpoint)
    with transaction.atomic():
        _alone(checkpoint)
        job.refresh_from_db()
        checkpoint.refresh_from_db()
        if not checkpoint.available and not checkpoint.damage:
            raise _gone(checkpoint)
        adapter_step = Adapter.objects.filter(job=job).values_list("step", flat=True).first()
        why = why_not_deleted(job, checkpoint, adapter_step=adapter_step)
        if why:
            raise _needed(checkpoint, "deleted", why)
        _refuse_if_awaited(checkpoint, "deleted")
        Checkpoint.objects.filter(pk=checkpoint.pk).update(available=False, damage="")
        _note(acting_user, job, checkpoint, "delete", bytes=checkpoint.bytes)
        text = f"The checkpoint of step {checkpoint.step} was deleted by {acting_user}."
        event_record(job_id=job.pk, run_id=checkpoint.run_id, code="checkpoint_deleted", text=text)
        paths = [checkpoint.path, f"{checkpoint.path}{ASIDE}"]
        transaction.on_commit(partial(checkpoints_delete, checkpoint.run_id, paths))


def checkpoint_verify(*, acting_user: User, checkpoint: Checkpoint) -> Checkpoint:
    """Read every file and compare its hash. One that differs is set aside; one that was mended
    can be used again."""
    job, checkpoint = _found(acting_user, checkpoint)
    if not checkpoint.available and not checkpoint.damage:
        raise _gone(checkpoint)
    damage = checkpoint_damage(checkpoint)
    with transaction.atomic():
        checkpoint_found(checkpoint, damage)
        _note(acting_user, job, checkpoint, "verify", damage=damage)
    checkpoint.refresh_from_db()
    return checkpoint


def checkpoint_found(checkpoint: Checkpoint, damage: str) -> None:
    """Write down what a reading of all its files found."""
    # One that was deleted meanwhile stays deleted.
    rows = Checkpoint.objects.filter(pk=checkpoint.pk).exclude(available=False, damage="")
    rows.update(available=not damage, damage=damage[:300], verified_at=Now())


def checkpoints_set_aside(lease: Lease) -> None:
    """The engine found files that differ, and gave their folder another name; raises Fenced."""
    with transaction.atomic():
        fence(lease, epoch=lease.epoch)
        for row in Checkpoint.objects.filter(run=lease.run_id, available=True):
            folder = run_folder(lease.run_id) / row.path
            if not folder.is_dir() and folder.with_name(f"{folder.name}{ASIDE}").is_dir():
                damage = checkpoint_damage(row, aside=True)
                checkpoint_found(row, damage or "The engine found a file that it could not use")


def _alone(checkpoint: Checkpoint) -> None:
    """Take the run's row, as a commit of a step does: nobody comes between look and decision."""
    Run.objects.select_for_update().get(pk=checkpoint.run_id)


def _refuse_if_awaited(checkpoint: Checkpoint, what: str) -> None:
    fork = forks_waiting(checkpoint).first()
    if fork is not None:
        raise _needed(checkpoint, what, f"{fork.name} is to begin with it, and has not begun.")


def _needed(checkpoint: Checkpoint, what: str, why: str) -> UserError:
    return UserError(
        f"The checkpoint of step {checkpoint.step} cannot be {what}. {why}",
        code="checkpoint_needed",
    )


def _found(acting_user: User, checkpoint: Checkpoint) -> tuple[Job, Checkpoint]:
    job_id = Job.objects.values_list("pk", flat=True).get(runs=checkpoint.run_id)
    job = access_job(acting_user, job_id, need="write")
    return job, access_checkpoint(acting_user, job_id, checkpoint.step, need="write")


def _note(acting_user: User, job: Job, checkpoint: Checkpoint, verb: str, **detail: object) -> None:
    audit_record(
        acting_user=acting_user,
        organisation=job.organisation,
        action=f"checkpoint.{verb}",
        target=job.pk,
        detail={"step": checkpoint.step, **detail},
    )


def _gone(checkpoint: Checkpoint) -> UserError:
    return UserError(
        f"The checkpoint of step {checkpoint.step} is not there any more: it was removed, or set "
        "aside as damaged.",
        code="checkpoint_gone",
    )
