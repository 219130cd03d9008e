"""Measuring a turn of a stored trajectory by continuations, when somebody asks for it."""

from __future__ import annotations

from collections.abc import Sequence

from django.db import transaction

from hone.accounts.models import User
from hone.accounts.services import audit_record
from hone.core.errors import UserError
from jobs.models import OPEN, Desired, Job, Replay, Run, RunKind, Status, Trajectory
from jobs.selectors import access_replay, access_trajectory, trajectory_body
from jobs.services.bell import ring
from jobs.services.control import run_end
from jobs.services.state import event_record

FEWEST, USUAL, MOST = 2, 4, 16
MOST_OPEN = 8
"""Of one job. Each takes a training worker for a while, and loads the model anew."""


def replay_create(
    *, acting_user: User, trajectory: Trajectory, turn: int, continuations: int = USUAL
) -> Replay:
    """Queue a measurement of a turn (zero-based) that made calls and that another turn followed.

    The job may be in any state, and stays in it.
    """
    job_id = trajectory.run.job_id
    trajectory = access_trajectory(acting_user, job_id, trajectory.pk, need="write")
    _refuse_what_cannot_be_measured(trajectory, turn, continuations)
    with transaction.atomic():
        # Whoever else asks for the same job waits here until this one is written.
        job = Job.objects.select_for_update().get(pk=job_id)
        _refuse_too_many(job, trajectory, turn)
        run = Run.objects.create(job=job, kind=RunKind.REPLAY, status=Status.QUEUED)
        replay = Replay.objects.create(
            run=run,
            trajectory=trajectory,
            turn=turn,
            continuations=continuations,
            created_by=acting_user,
        )
        event_record(
            job_id=job.pk,
            run_id=run.pk,
            code="replay_queued",
            text=f"Turn {turn + 1} of {trajectory.uid} is to be measured by {continuations} "
            "continuations from before it and as many from after it.",
        )
        _note(acting_user, replay, "replay")
        ring(run.pk)
    return replay


def replay_sides_create(
    *, acting_user: User, trajectories: Sequence[Trajectory], turn: int, continuations: int = USUAL
) -> list[Replay]:
    """Queue a measurement of the same turn of attempts that parted there: of all, or of none."""
    with transaction.atomic():
        return [
            replay_create(
                acting_user=acting_user,
                trajectory=trajectory,
                turn=turn,
                continuations=continuations,
            )
            for trajectory in trajectories
        ]


def replay_cancel(*, acting_user: User, replay: Replay) -> Replay:
    """Cancel a measurement that has not ended: at once, or as soon as its engine has stopped."""
    job_id = replay.run.job_id
    replay = access_replay(acting_user, job_id, replay.pk, need="write")
    with transaction.atomic():
        if not run_end(replay.run, Desired.CANCEL, Status.CANCELLED):
            raise UserError(
                f"This measurement is {replay.run.get_status_display().lower()} already and "
                "cannot be cancelled.",
                code="wrong_state",
            )
        _note(acting_user, replay, "replay_cancel")
    return access_replay(acting_user, job_id, replay.pk)


def _refuse_what_cannot_be_measured(trajectory: Trajectory, turn: int, continuations: int) -> None:
    if not FEWEST <= continuations <= MOST:
        raise UserError(
            f"{continuations} continuations from each side were asked for; choose {FEWEST} to "
            f"{MOST}.",
            code="out_of_range",
            field="continuations",
        )
    if trajectory.split != "train":
        raise UserError(
            "Only trajectories of training can be measured by continuations; this one is of the "
            f"{trajectory.split}.",
            code="not_measurable",
        )
    turns = trajectory_body(trajectory).turns
    if not 0 <= turn < len(turns) - 1 or not turns[turn].calls:
        raise UserError(
            f"Turn {turn + 1} of {trajectory.uid} cannot be measured: only a turn that made calls "
            "and that another turn followed can.",
            code="not_measurable",
            field="turn",
        )


def _refuse_too_many(job: Job, trajectory: Trajectory, turn: int) -> None:
    waiting = Replay.objects.filter(run__job=job, run__status__in=OPEN)
    if waiting.filter(trajectory=trajectory, turn=turn).exists():
        raise UserError(
            f"Turn {turn + 1} of {trajectory.uid} is being measured already. Wait for its result "
            "or cancel it first.",
            code="replay_open",
        )
    if waiting.count() >= MOST_OPEN:
        raise UserError(
            f"{MOST_OPEN} measurements of this job have not ended yet. Wait for one of them or "
            "cancel one.",
            code="too_many_replays",
        )


def _note(acting_user: User, replay: Replay, action: str) -> None:
    trajectory = replay.trajectory
    audit_record(
        acting_user=acting_user,
        organisation=replay.run.job.organisation,
        action=f"job.{action}",
        target=replay.run.job_id,
        detail={
            "run": replay.pk,
            "trajectory": trajectory.uid,
            "turn": replay.turn + 1,
            "continuations": replay.continuations,
        },
    )
