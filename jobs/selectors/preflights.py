"""Preflights: the access door and the list."""

from __future__ import annotations

from django.contrib.auth.models import AnonymousUser
from django.db.models import QuerySet
from django.http import Http404

from graders.models import GraderVersion
from hone.accounts.models import Organisation, User
from hone.accounts.selectors import Need, access_row
from hone.datasets.models import DatasetVersion
from jobs.models import BaseModel, Job, Purpose, Status


def access_preflight(user: User | AnonymousUser, job_id: object, *, need: Need = "read") -> Job:
    """The job of a preflight, if the user may `need` it; a job that trains is as an absent one."""
    rows = Job.objects.select_related("base_model", "created_by", "preflight", "grader_version")
    job = access_row(rows, user, job_id, need=need)
    if job.purpose != Purpose.PREFLIGHT:
        raise Http404("There is nothing here that you can see.")
    return job


def preflight_list(organisation: Organisation) -> QuerySet[Job]:
    """Newest first."""
    rows = Job.objects.filter(organisation=organisation, purpose=Purpose.PREFLIGHT)
    return rows.select_related("base_model", "created_by", "preflight")


def preflight_of(
    organisation: Organisation, train: DatasetVersion, model: BaseModel, grader: GraderVersion
) -> Job | None:
    """The newest finished preflight of these tasks, this base model and this grader."""
    done = preflight_list(organisation).filter(
        status=Status.SUCCEEDED, train_version=train, base_model=model, grader_version=grader
    )
    return done.order_by("-created_at", "-pk").first()
