"""Fills a new database. Needs Django.

The sample workspace is made by its services; the past of the jobs is copied in, because a million
rows through the service of a step would take hours.
"""

from __future__ import annotations

import json
import secrets
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from django.core.management import call_command
from django.db import connection, models
from django.db.models.functions import Now

from benchmarks.pages import rows
from benchmarks.pages.plan import LONG, Facts, Plan
from benchmarks.pages.story import Story
from hone.accounts.models import Membership, Role, User
from hone.demo.workspace import demo_job_create, tools_allow, workspace_seed
from jobs.engine.events import StepDone
from jobs.models import (
    Checkpoint,
    Job,
    JobEvent,
    JobStep,
    Run,
    Status,
    Trajectory,
    Usage,
    run_folder,
)
from jobs.services.lease import run_acquire
from jobs.services.rollup import rollup_steps

SECONDS_A_STEP = 3.0
CHUNK = 2_000
"""Steps that are copied in at once."""


def seed(plan: Plan) -> Facts:
    """The whole database; prints how long each part took."""
    with timed("migrations"):
        call_command("migrate", verbosity=0)
    with timed("workspace, people and jobs"):
        long, others, members = _jobs(plan)
    indexes = indexes_drop(Trajectory)
    with timed(f"{plan.steps:,} steps of the long job"):
        story, done = _long_job(plan, long)
    with timed("the other jobs"):
        for number, job in enumerate(others):
            _past_write(Story(plan, plan.others_steps, seed=1 + number), job, plan.others_steps)
    with timed("indexes"):
        for statement in indexes:
            _execute(statement)
    with timed("what is derived from the rows"):
        derived_write([long, *others])
    return _facts(plan, long, others[0], members, story, done)


def indexes_drop(model: type[models.Model]) -> list[str]:
    """Rows are copied in sooner without indexes; returns what makes those again that went. What a
    constraint needs stays."""
    table = model._meta.db_table
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = %s"
            " AND indexname NOT IN (SELECT conname FROM pg_constraint)",
            [table],
        )
        found = cursor.fetchall()
    for name, _ in found:
        _execute(f'DROP INDEX "{name}"')
    return [statement for _, statement in found]


def derived_write(jobs: Sequence[Job]) -> None:
    """What `step_commit` keeps beside the rows, and a copy of rows leaves out; what the database
    knows of its tables. Searched columns are made by the database as the rows come."""
    for run in Run.objects.filter(job__in=jobs):
        rollup_steps(run)
    _execute("VACUUM ANALYZE")


def _execute(statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)


def _jobs(plan: Plan) -> tuple[Any, list[Any], list[str]]:
    """The long job, the others that have a past, and the people."""
    tools_allow()
    workspace = workspace_seed()
    long = demo_job_create(workspace, seed=1)
    Job.objects.filter(pk=long.pk).update(name=LONG, total_steps=plan.total_steps)
    Run.objects.filter(job=long).update(total_steps=plan.total_steps)
    ends = (Status.SUCCEEDED,) * 8 + (Status.FAILED, Status.CANCELLED)
    others = [
        Job(
            organisation=long.organisation,
            name=f"{'refunds' if number % 3 else 'triage'}-v{number}",
            spec=long.spec,
            base_model=long.base_model,
            train_version=long.train_version,
            validation_version=long.validation_version,
            grader_version=long.grader_version,
            created_by=workspace.user,
            status=ends[number % 10],
            total_steps=plan.others_steps,
            finished_at=Now(),
        )
        for number in range(plan.others)
    ]
    Job.objects.bulk_create(others)
    Run.objects.bulk_create(
        Run(job=job, status=job.status, total_steps=job.total_steps) for job in others
    )
    members = [f"viewer-{number}@example.org" for number in range(plan.viewers + plan.visitors)]
    for email in members:
        user = User.objects.create_user(email, secrets.token_urlsafe(12))
        Membership.objects.create(organisation=long.organisation, user=user, role=Role.MEMBER)
    return long, others[: plan.others_with_steps], members


def _long_job(plan: Plan, job: Any) -> tuple[Story, StepDone]:
    """Its past; a worker holds it, so that it is running."""
    lease = run_acquire(Run.objects.get(job=job).pk, holder="benchmark", host="benchmark")
    assert lease is not None
    story = Story(plan, plan.total_steps)
    return story, _past_write(story, job, plan.steps, _open_steps(plan))


def _open_steps(plan: Plan) -> frozenset[int]:
    """Evenly over the job, the last one among them."""
    every = max(1, plan.steps // plan.open_steps)
    return frozenset(range(plan.steps - 1, 0, -every))


def _past_write(
    story: Story, job: Any, count: int, open_steps: frozenset[int] = frozenset()
) -> StepDone:
    """Steps 0 to `count` - 1 of a job; returns the last one."""
    run = Run.objects.get(job=job)
    began = datetime.now(UTC) - timedelta(seconds=SECONDS_A_STEP * count)
    checkpoints: list[dict[str, Any]] = []
    done: list[StepDone] = []
    for start in range(0, count, CHUNK):
        written: dict[type[models.Model], list[dict[str, Any]]] = defaultdict(list)
        for step in range(start, min(start + CHUNK, count)):
            opened = step in open_steps
            one = story.step(
                step,
                bodies=run_folder(run.pk) if opened else None,
                long=opened and step == count - 1,
            )
            at = {"created_at": began + timedelta(seconds=SECONDS_A_STEP * step)}
            written[JobStep].append(rows.step_row(run.pk, one) | at)
            written[Usage].append(rows.usage_row(run.pk, one))
            written[JobEvent] += [row | at for row in rows.event_rows(job.pk, run.pk, one)]
            written[Trajectory] += rows.trajectory_rows(run.pk, one)
            checkpoints.append(rows.checkpoint_row(run.pk, one) | at)
            done = [*done[:1], one]
        for model, found in written.items():
            copy_rows(model, found)
    first, last = done[0], done[-1]
    copy_rows(Checkpoint, [row | rows.kept_now(row["step"], last) for row in checkpoints])
    evaluated = [row["validation_reward"] for row in checkpoints if row["validation_reward"]]
    Run.objects.filter(pk=run.pk).update(last_step=last.step)
    Job.objects.filter(pk=job.pk).update(
        last_step=last.step,
        baseline_reward=first.metrics["validation"]["reward_mean"],
        best_reward=story.best[0][0],
        best_step=story.best[0][1],
        last_reward=evaluated[-1],
        train_reward=last.metrics["train"]["reward_mean"],
        engine_seconds=SECONDS_A_STEP * count,
    )
    return last


def copy_rows(model: type[models.Model], found: Sequence[dict[str, Any]]) -> None:
    """COPY rows that name the same fields; fields that they do not name get their defaults."""
    made_by_database = (models.AutoField, models.GeneratedField)
    fields = [f for f in model._meta.concrete_fields if not isinstance(f, made_by_database)]
    known = [field for field in fields if field.attname in found[0]]
    rest = [field for field in fields if field.attname not in found[0]]
    defaults = [_value(field.get_default()) for field in rest]
    names = ", ".join(f'"{field.column}"' for field in (*known, *rest))
    connection.ensure_connection()
    with (
        connection.connection.cursor() as cursor,
        cursor.copy(f'COPY "{model._meta.db_table}" ({names}) FROM STDIN') as copy,
    ):
        for row in found:
            copy.write_row([*(_value(row[field.attname]) for field in known), *defaults])


def _value(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, dict | list) else value


def _facts(
    plan: Plan, job: Any, short: Any, members: list[str], story: Story, last: StepDone
) -> Facts:

    opened = Trajectory.objects.filter(run__job=job, step__in=_open_steps(plan)).exclude(
        uid__endswith="-long"
    )
    long = Trajectory.objects.get(run__job=job, step=last.step, uid__endswith="-long")
    return Facts(
        job=job.pk,
        short_job=short.pk,
        members=members,
        opened=[[pk, uid] for pk, uid in opened.order_by("pk").values_list("pk", "uid")],
        long=[long.pk, long.uid],
        best=story.best,
    )


@contextmanager
def timed(what: str) -> Iterator[None]:
    """Says what took how long."""
    began = time.monotonic()
    yield
    print(f"... {what}: {time.monotonic() - began:.0f} s", flush=True)
