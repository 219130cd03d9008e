"""Checkpoints as people choose among them: whose files stay, how good each is, which are equal."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from django.db.models import Avg, Count, F, Q, QuerySet

from jobs.models import FINAL, Checkpoint, Job, RunKind, Trajectory
from jobs.workbench.measures import Estimate, mean_of, paired_difference

ROLLING = 2
"""How many of the newest checkpoints stay besides the best ones."""


@dataclass(frozen=True)
class Judged:
    """A checkpoint and its reward over tasks. `unlike_best` None: there is nothing to compare."""

    checkpoint: Checkpoint
    reward: Estimate | None
    unlike_best: bool | None = None
    difference: Estimate | None = None
    """To the best one, over the same tasks."""


def checkpoints_held(run_id: str) -> list[int]:
    """Steps whose files the engine must leave where they are: also of those that were set aside."""
    rows = Checkpoint.objects.filter(Q(available=True) | ~Q(damage=""), run=run_id)
    return list(rows.order_by("step").values_list("step", flat=True))


def job_checkpoints(job: Job) -> list[Checkpoint]:
    """Checkpoints that are on disk: best first, then those without an evaluation, newest first;
    last those that were set aside. Each has `forked`, and `waiting`: forks that have not begun."""
    begun = Q(forks__last_step__gte=0) | Q(forks__status__in=FINAL)
    rows = Checkpoint.objects.filter(Q(available=True) | ~Q(damage=""), run__job=job).annotate(
        forked=Count("forks"), waiting=Count("forks", filter=Q(forks__isnull=False) & ~begun)
    )
    reward = F("validation_reward").desc(nulls_last=True)
    return list(rows.order_by("-available", reward, "-step"))


def judged(job: Job, checkpoints: Iterable[Checkpoint]) -> list[Judged]:
    """Each with its interval over tasks, and whether it can be told apart from the first one."""
    listed = list(checkpoints)
    scores = _task_scores(job, [each.step for each in listed if each.validation_reward is not None])
    best = next((each.step for each in listed if each.available and each.step in scores), None)
    found = []
    for each in listed:
        of_tasks = scores.get(each.step, {})
        gap = None
        if best is not None and each.step != best and each.available:
            shared = sorted(of_tasks.keys() & scores[best].keys())
            gap = paired_difference(
                [scores[best][row] for row in shared], [of_tasks[row] for row in shared]
            )
        apart = None
        if gap is not None and gap.low is not None and gap.high is not None:
            apart = gap.high < 0 or gap.low > 0
        found.append(Judged(each, mean_of(list(of_tasks.values())), apart, gap))
    return found


def _task_scores(job: Job, steps: Iterable[int]) -> dict[int, dict[int, float]]:
    """By step and task: the mean reward of the graded validation attempts."""
    rows = Trajectory.objects.filter(
        run__job=job, run__kind=RunKind.TRAIN, split="validation", step__in=list(steps)
    ).exclude(reward=None)
    found: dict[int, dict[int, float]] = {}
    for step, row, mean in rows.values_list("step", "row").annotate(mean=Avg("reward")).order_by():
        found.setdefault(step, {})[row] = mean
    return found


def why_not_deleted(job: Job, checkpoint: Checkpoint, *, adapter_step: int | None) -> str:
    """What a checkpoint is still needed for; empty where it may go."""
    if checkpoint.pinned:
        return "It is kept by a person: let it go first."
    if job.status not in FINAL:
        if checkpoint.step > job.last_step - ROLLING:
            return "The job would resume from it."
        if checkpoint.step == job.best_step and checkpoint.available:
            return "It is the best so far: the adapter would be made from it."
    if checkpoint.step == adapter_step:
        return "The exported adapter was made from it, and its proof is about it."
    return ""


def forks_waiting(checkpoint: Checkpoint) -> QuerySet[Job]:
    """Forks that have not begun, and so still need its files."""
    return Job.objects.filter(start_checkpoint=checkpoint, last_step__lt=0).exclude(
        status__in=FINAL
    )
