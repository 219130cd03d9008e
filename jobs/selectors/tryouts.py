"""Tries of the playground: the access door, the list, and what their sides came to."""

from __future__ import annotations

from collections.abc import Sequence

from django.contrib.auth.models import AnonymousUser

from hone.accounts.models import Organisation, User
from hone.accounts.selectors import Need, access_row
from jobs.models import Checkpoint, Job, Purpose, RunKind, Trajectory

LISTED = 50
OFFERED = 200


def access_tryout(user: User | AnonymousUser, job_id: object, *, need: Need = "read") -> Job:
    """The job of a try, if the user may `need` it; any other job is as an absent one."""
    rows = Job.objects.filter(purpose=Purpose.PLAYGROUND)
    return access_row(
        rows.select_related("organisation", "created_by", "tryout"), user, job_id, need=need
    )


def tryout_list(organisation: Organisation) -> list[Job]:
    """The newest ones."""
    rows = Job.objects.filter(organisation=organisation, purpose=Purpose.PLAYGROUND)
    return list(rows.select_related("created_by").order_by("-created_at", "-pk")[:LISTED])


def tryout_sides(jobs: Sequence[Job]) -> dict[tuple[str, int], Trajectory]:
    """What each side that is done came to, by the try and the place of the side."""
    rows = Trajectory.objects.filter(run__job__in=jobs, run__kind=RunKind.PLAYGROUND)
    return {(row.run.job_id, row.step): row for row in rows.select_related("run")}


def checkpoints_to_try(organisation: Organisation) -> list[Checkpoint]:
    """Of the newest jobs those whose files are there, the latest step first. Step 0 is the model
    that the job began with."""
    rows = Checkpoint.objects.filter(
        run__job__organisation=organisation, run__kind=RunKind.TRAIN, available=True, step__gt=0
    )
    newest = rows.select_related("run__job__base_model").order_by("-run__job__created_at", "-step")
    return list(newest[:OFFERED])
