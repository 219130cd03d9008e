"""The access doors of jobs: a foreign id and an absent id are the same 404."""

from __future__ import annotations

from django.contrib.auth.models import AnonymousUser
from django.db.models import QuerySet
from django.http import Http404

from hone.accounts.models import User
from hone.accounts.selectors import Need, access_row
from jobs.models import BaseModel, BaseModelStatus, Checkpoint, Job, Trajectory


def access_job(user: User | AnonymousUser, job_id: object, *, need: Need = "read") -> Job:
    """The job, if the user may `need` it."""
    rows = Job.objects.select_related("organisation", "base_model", "created_by")
    return access_row(rows, user, job_id, need=need)


def access_trajectory(
    user: User | AnonymousUser, job_id: object, trajectory_id: int, *, need: Need = "read"
) -> Trajectory:
    """One trajectory of a job that the user may `need`."""
    job = access_job(user, job_id, need=need)
    return _of_job(Trajectory.objects.filter(run__job=job).select_related("run"), trajectory_id)


def access_checkpoint(
    user: User | AnonymousUser, job_id: object, step: int, *, need: Need = "read"
) -> Checkpoint:
    """The checkpoint of a step of a job that the user may `need`."""
    job = access_job(user, job_id, need=need)
    found = Checkpoint.objects.filter(run__job=job, run__kind="train", step=step).first()
    if found is None:
        raise Http404("There is nothing here that you can see.")
    return found


def _of_job(rows: QuerySet[Trajectory], trajectory_id: int) -> Trajectory:
    found = rows.filter(pk=trajectory_id).first() if 0 < trajectory_id < 2**63 else None
    if found is None:
        raise Http404("There is nothing here that you can see.")
    return found


def base_models_ready() -> QuerySet[BaseModel]:
    """What jobs may start from, by name."""
    return BaseModel.objects.filter(enabled=True, status=BaseModelStatus.READY)
