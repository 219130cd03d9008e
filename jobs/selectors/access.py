"""The access doors of jobs: a foreign id and an absent id are the same 404."""

from __future__ import annotations

from collections.abc import Collection

from django.contrib.auth.models import AnonymousUser
from django.db.models import OuterRef, QuerySet
from django.http import Http404

from hone.accounts.models import Organisation, User
from hone.accounts.selectors import Need, access_row, is_plausible, may
from jobs.models import (
    LEADING,
    BaseModel,
    BaseModelStatus,
    Checkpoint,
    Job,
    Replay,
    Run,
    RunKind,
    Trajectory,
)


def access_job(user: User | AnonymousUser, job_id: object, *, need: Need = "read") -> Job:
    """The job, if the user may `need` it; its `leading_run_id` is read with it."""
    rows = Job.objects.select_related("organisation", "base_model", "created_by", "adapter")
    leading = Run.objects.filter(job=OuterRef("pk"), kind__in=LEADING).values("pk")
    return access_row(rows.annotate(**{"leading_run_id": leading}), user, job_id, need=need)


def access_jobs(user: User | AnonymousUser, job_ids: Collection[str]) -> dict[str, Job]:
    """As many jobs at once, if the user may read them all; one query."""
    plausible = [job_id for job_id in job_ids if is_plausible(job_id)]
    rows = Job.objects.select_related(
        "base_model", "validation_version__dataset", "grader_version__grader"
    ).in_bulk(plausible)
    if any(
        job_id not in rows or not may(user, rows[job_id].organisation_id, "read")
        for job_id in job_ids
    ):
        raise Http404("There is nothing here that you can see.")
    return rows


def access_source(user: User | AnonymousUser, job_id: object) -> Job:
    """As `access_job`, with the checkpoint it began with, for a job that is made like it."""
    rows = Job.objects.select_related("base_model", "start_checkpoint__run__job")
    return access_row(rows, user, job_id)


def access_trajectory(
    user: User | AnonymousUser, job_id: object, trajectory_id: int, *, need: Need = "read"
) -> Trajectory:
    """One trajectory of a job that the user may `need`; its `run.job` is there, with the versions
    that say what was asked and how it was graded."""
    rows = Job.objects.select_related(
        "organisation",
        "base_model",
        "created_by",
        "train_version",
        "validation_version",
        "grader_version",
    )
    job = access_row(rows, user, job_id, need=need)
    found = _of_job(Trajectory.objects.filter(run__job=job).select_related("run"), trajectory_id)
    found.run.job = job
    return found


def access_checkpoint(
    user: User | AnonymousUser, job_id: object, step: int, *, need: Need = "read"
) -> Checkpoint:
    """The checkpoint of a step of a job that the user may `need`."""
    rows = Checkpoint.objects.filter(run__job=str(job_id) if is_plausible(job_id) else None)
    rows = rows.filter(run__kind=RunKind.TRAIN).select_related("run__job__base_model")
    return access_row(rows, user, step, need=need, key="step")


def access_run(user: User | AnonymousUser, run_id: object, *, need: Need = "read") -> Run:
    """The run, if the user may `need` its job."""
    run = None if "\x00" in str(run_id) else Run.objects.filter(pk=str(run_id)[:40]).first()
    access_job(user, run.job_id if run else "", need=need)
    assert run is not None
    return run


def checkpoint_of(organisation: Organisation, checkpoint_id: int) -> Checkpoint | None:
    """The checkpoint of one of the organisation's jobs; a foreign id is as an absent one."""
    rows = Checkpoint.objects.filter(run__job__organisation=organisation, run__kind=RunKind.TRAIN)
    found = rows.filter(pk=checkpoint_id) if 0 < checkpoint_id < 2**63 else rows.none()
    return found.select_related("run__job__base_model").first()


def access_replay(
    user: User | AnonymousUser, job_id: object, run_id: object, *, need: Need = "read"
) -> Replay:
    """A measurement of a job that the user may `need`."""
    job = access_job(user, job_id, need=need)
    rows = Replay.objects.filter(run__job=job).select_related("run", "trajectory")
    found = None if "\x00" in str(run_id) else rows.filter(pk=str(run_id)).first()
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
