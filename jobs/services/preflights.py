"""Trying the base model on some tasks of a job before the job is started."""

from __future__ import annotations

import random
from math import ceil

from django.db import transaction

from hone.accounts.models import Organisation, User
from hone.accounts.services import audit_record
from hone.core.errors import UserError
from hone.core.ids import new_id
from jobs.models import Job, Preflight, Purpose
from jobs.services.create import Ready, job_write, request_ready, start_verify
from jobs.services.request import JobRequest

TASKS, FEWEST_TASKS, MOST_TASKS = 16, 2, 128
ATTEMPTS, FEWEST_ATTEMPTS, MOST_ATTEMPTS = 8, 2, 32


def preflight_create(
    *,
    acting_user: User,
    organisation: Organisation,
    request: JobRequest,
    tasks: int = TASKS,
    attempts: int = ATTEMPTS,
) -> Job:
    """Queue a preflight of what a job is asked for; JobRefused where the job could not run.

    Tasks are drawn from those of training by the job's seed; a short file is tried whole.
    """
    _refuse(tasks, "tasks", FEWEST_TASKS, MOST_TASKS)
    _refuse(attempts, "attempts", FEWEST_ATTEMPTS, MOST_ATTEMPTS)
    ready = request_ready(acting_user, organisation, request)
    start_verify(ready)
    rows = _drawn(ready, tasks)
    with transaction.atomic():
        steps = ceil(len(rows) / ready.value("batch_size"))
        job = job_write(ready, Purpose.PREFLIGHT, steps=steps, pk=new_id("preflight"))
        Preflight.objects.create(job=job, rows=rows, attempts=attempts)
        audit_record(
            acting_user=acting_user,
            organisation=organisation,
            action="preflight.create",
            target=job.pk,
            detail={"name": job.name, "tasks": len(rows), "attempts": attempts},
        )
    return job


def _refuse(value: int, what: str, fewest: int, most: int) -> None:
    if not fewest <= value <= most:
        raise UserError(
            f"A preflight of {value} {what} was asked for; choose {fewest} to {most}.",
            code="out_of_range",
            field=f"preflight_{what}",
        )


def _drawn(ready: Ready, tasks: int) -> list[int]:
    train, rows = ready.chosen.train, ready.chosen.train_rows
    assert train is not None
    all_rows = range(train.rows) if rows is None else rows
    chance = random.Random(f"preflight:{ready.request.seed}")
    return sorted(chance.sample(sorted(all_rows), min(tasks, len(all_rows))))
