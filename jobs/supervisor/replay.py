"""What the engine of a replay is told, and what stays of its folder afterwards."""

from __future__ import annotations

import shutil

from jobs.engine import spec
from jobs.errors import CannotStart
from jobs.models import Checkpoint, Replay, Run, run_folder
from jobs.selectors import trajectory_siblings
from jobs.services import artifacts
from jobs.supervisor.process import LOG_NAME

CHOICES = 2
"""Checkpoints that are offered: a training run may remove the first one meanwhile."""


def replay_spec(run: Run) -> spec.ReplaySpec:
    """The turn, its group's stored bodies, and the weights; the training run is only read."""
    replay = Replay.objects.select_related("trajectory").get(run=run)
    trajectory = replay.trajectory
    bodies = artifacts.borrow_file(trajectory.run_id, trajectory.bodies, into=run_folder(run.pk))
    if bodies is None:
        raise CannotStart(
            "body_unreadable",
            f"The file of the attempts of step {trajectory.step} ({trajectory.bodies}) is gone. "
            "Restore the files of the job from a backup, then measure again.",
        )
    return spec.ReplaySpec(
        uid=trajectory.uid,
        turn=replay.turn,
        continuations=replay.continuations,
        step=trajectory.step,
        bodies=str(bodies),
        frames=tuple(trajectory_siblings(trajectory).values_list("offset", "length")),
        weights=tuple(_weights(replay)),
    )


def tidy(run_id: str) -> None:
    """Of a replay's folder, only the engine's log is of use to anybody later."""
    for path in run_folder(run_id).iterdir():
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        elif path.name != LOG_NAME:
            path.unlink(missing_ok=True)


def _weights(replay: Replay) -> list[spec.ResumePoint]:
    """Checkpoints nearest to the one that sampled. The base model, which is always there, stands
    for step 0, so none that is farther off than that is offered."""
    wanted = replay.wanted_step
    rows = Checkpoint.objects.filter(run_id=replay.trajectory.run_id, available=True, step__gt=0)
    near = [row for row in rows if abs(row.step - wanted) <= wanted]
    found: list[spec.ResumePoint] = []
    for row in sorted(near, key=lambda row: (abs(row.step - wanted), row.step)):
        folder = artifacts.borrow_folder(row.run_id, row.path, into=run_folder(replay.run_id))
        if folder is not None:
            found.append(spec.ResumePoint(row.step, str(folder), row.manifest_sha256))
        if len(found) == CHOICES:
            break
    return found
