"""Tries of the playground with a past, made through the services that a worker uses."""

from __future__ import annotations

from typing import Any

import msgspec
import story

from hone.accounts.models import Organisation, User
from hone.tools.models import Tool
from jobs.engine import events
from jobs.engine.playground_run import side_uid, turns_so_far
from jobs.engine.reporting import write_bodies
from jobs.engine.types import Trajectory
from jobs.models import Checkpoint, Job, Run, run_folder
from jobs.services.commit import step_commit
from jobs.services.ending import run_finish
from jobs.services.lease import Lease, run_acquire
from jobs.services.tryouts import TryoutRequest, tryout_create, tryout_note_turns


def tryout_make(user: User, organisation: Organisation, trained: Job, **more: Any) -> Job:
    """Queued: the base model of a job beside its newest checkpoint, on row 15 of its tasks."""
    point = Checkpoint.objects.filter(run__job=trained, available=True).order_by("-step")[0]
    tools = [
        tool.versions.latest("number").pk for tool in Tool.objects.filter(organisation=organisation)
    ]
    fields = {
        "a": f"base:{trained.base_model_id}",
        "b": f"checkpoint:{point.pk}",
        "version": trained.train_version_id,
        "row": 14,
        "tools": tools,
        "grader": trained.grader_version_id,
    }
    request = TryoutRequest(**(fields | more))
    return tryout_create(acting_user=user, organisation=organisation, request=request)


def lease_take(job: Job) -> Lease:
    lease = run_acquire(Run.objects.get(job=job).pk, holder="test", host="here")
    assert lease is not None
    return lease


def rollout(step: int, *, sample: int, wins: bool) -> Trajectory:
    """Sample 0 has hostile text, sample 1 of task 0 loops."""
    made = story.trajectory_made(12 if wins else 0, "playground", 1 if sample else 2, sample)
    return msgspec.structs.replace(made, uid=side_uid(step), group="0", sample=0, row=14)


def side_commit(lease: Lease, step: int, made: Trajectory, *, total: int = 1) -> None:
    name, rows = write_bodies(run_folder(lease.run_id), step, lease.epoch, [made])
    seconds = {"loading": 20.0, "rollout": 3.6, "grading": 0.4, "total": 24.0}
    step_commit(
        lease,
        events.StepDone(
            step=step,
            total_steps=total,
            metrics={"seconds": seconds},
            trajectories=rows,
            bodies=name,
        ),
    )


def live(lease: Lease, step: int, made: Trajectory) -> None:
    """The turns so far of a rollout that goes on."""
    so_far = msgspec.structs.replace(made, stop=None, turns=made.turns[:1])
    tryout_note_turns(lease, turns_so_far(step, so_far))


def answered(user: User, organisation: Organisation, trained: Job, **more: Any) -> Job:
    """Both sides are done; B wins."""
    job = tryout_make(user, organisation, trained, **more)
    lease = lease_take(job)
    side_commit(lease, 0, rollout(0, sample=2, wins=False))
    side_commit(lease, 1, rollout(1, sample=1, wins=True))
    run_finish(lease, events.Finished(seconds=48.0))
    job.refresh_from_db()
    return job
