"""What the job page says at a glance: verdict, tiles, place in the queue and time left."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from math import sqrt
from statistics import mean, stdev
from typing import Any

from django.db.models import Q
from django.db.models.functions import Now

from hone.core import figures
from jobs.models import Job, JobStep, Run, RunKind, Status, Trajectory

RECENT = 5
Z_95 = 1.96


@dataclass(frozen=True)
class Tile:
    """One figure: now, and how it differs from the base model. Texts are ready to show."""

    title: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Overview:
    """Everything above the charts."""

    verdict: str
    tiles: list[Tile]
    steps: list[JobStep]
    phase: dict[str, Any] = field(default_factory=dict)
    wanted: str = ""
    """`pause` or `cancel` while the engine is still at work."""
    recovering: bool = False
    pause_text: str = ""
    queue_place: int | None = None
    seconds_left: float | None = None
    no_signal: bool = False
    """It has trained, and no step had anything to learn from."""


def job_overview(job: Job) -> Overview:
    """The state of a job in plain words, written from its data."""
    run = Run.objects.get(job=job, kind=RunKind.TRAIN)
    steps = list(JobStep.objects.filter(run=run).order_by("step"))
    running = job.status == Status.RUNNING
    return Overview(
        verdict=_verdict(job, run, steps),
        tiles=_tiles(steps),
        steps=steps,
        phase=run.progress if running else {},
        wanted=run.desired if running and run.desired != "run" else "",
        recovering=running and _lease_lost(run),
        pause_text=_pause_text(run),
        queue_place=queue_place(job),
        seconds_left=seconds_left(job, steps),
        no_signal=_learned_nothing(steps),
    )


def queue_place(job: Job) -> int | None:
    """1 for the next job to start; None for a job that is not queued."""
    if job.status != Status.QUEUED:
        return None
    earlier = Q(created_at__lt=job.created_at) | Q(created_at=job.created_at, pk__lt=job.pk)
    return 1 + Job.objects.filter(earlier, status=Status.QUEUED).count()


def seconds_left(job: Job, steps: list[JobStep]) -> float | None:
    """The mean time of the last steps, times the steps that remain; None where unknown."""
    times = [
        float(total)
        for step in steps[-RECENT:]
        if step.step > 0 and (total := (step.metrics.get("seconds") or {}).get("total")) is not None
    ]
    if job.is_final or not times or not job.total_steps:
        return None
    return mean(times) * max(0, job.total_steps - job.last_step)


def _lease_lost(run: Run) -> bool:
    lost = Q(lease_until__isnull=True) | Q(lease_until__lt=Now())
    return Run.objects.filter(lost, pk=run.pk, status=Status.RUNNING).exists()


def _pause_text(run: Run) -> str:
    if run.status != Status.PAUSED:
        return ""
    return run.pause_text or f"{run.get_pause_reason_display()}."


def _verdict(job: Job, run: Run, steps: list[JobStep]) -> str:
    sentences = [_state_sentence(job, run), _reward_sentence(run, steps), _signal_sentence(steps)]
    return " ".join(sentence for sentence in sentences if sentence)


def _state_sentence(job: Job, run: Run) -> str:
    match job.status:
        case Status.QUEUED:
            return "Waiting for a training worker."
        case Status.FAILED:
            return f"Failed {_when(job)}: {job.error_message}"
        case Status.PAUSED:
            return f"Paused {_when(job)}. {_pause_text(run)}"
        case Status.CANCELLED:
            return f"Cancelled {_when(job)}."
        case Status.RUNNING if job.last_step < 0:
            return "The base model is being evaluated."
    return ""


def _when(job: Job) -> str:
    return f"after step {job.last_step}" if job.last_step >= 0 else "before step 0 was done"


def _reward_sentence(run: Run, steps: list[JobStep]) -> str:
    evaluated = [step for step in steps if _of(step, "validation", "reward_mean") is not None]
    if not evaluated:
        return ""
    base, last = evaluated[0], evaluated[-1]
    now = figures.reward(_of(last, "validation", "reward_mean"))
    if base is last:
        return f"The base model's validation reward is {now}."
    before = figures.reward(_of(base, "validation", "reward_mean"))
    change = _paired_change(run, base.step, last.step)
    text = f"Validation reward {now} at step {last.step}, base {before}"
    if change is None:
        return f"{text}."
    middle, half, tasks = change
    trend = (
        "Rising."
        if middle - half > 0
        else "Falling."
        if middle + half < 0
        else ("No change that these tasks can show.")
    )
    low, high = figures.signed(middle - half), figures.signed(middle + half)
    return (
        f"{text} ({figures.signed(middle)}, 95 % interval {low} to {high}, {tasks} tasks). {trend}"
    )


def _paired_change(run: Run, first: int, last: int) -> tuple[float, float, int] | None:
    """Mean change by task, half of its 95 % interval, and the number of tasks."""
    rewards: dict[int, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    graded = Trajectory.objects.filter(
        run=run, step__in=(first, last), split="validation", reward__isnull=False
    )
    for step, row, reward in graded.values_list("step", "row", "reward"):
        rewards[row][step].append(float(reward or 0.0))
    changes = [mean(by[last]) - mean(by[first]) for by in rewards.values() if len(by) == 2]
    if len(changes) < 2:
        return None
    return mean(changes), Z_95 * stdev(changes) / sqrt(len(changes)), len(changes)


def _trained(steps: list[JobStep]) -> list[JobStep]:
    return [step for step in steps if _of(step, "groups", "total") is not None and step.step]


def _learned_nothing(steps: list[JobStep]) -> bool:
    trained = _trained(steps)
    return bool(trained) and not any(_of(step, "groups", "with_signal") for step in trained)


def _signal_sentence(steps: list[JobStep]) -> str:
    trained = _trained(steps)
    silent = [step for step in trained if not _of(step, "groups", "with_signal")]
    if not silent:
        return ""
    if len(silent) == len(trained):
        rewards = {figures.reward(_of(step, "train", "reward_mean")) for step in silent}
        shown = rewards.pop() if len(rewards) == 1 else "the same within each group"
        return (
            f"There is no learning signal: in all {len(silent)} training steps every group's "
            f"rewards were equal ({shown}), so nothing was learned. Check the grader on a "
            "trajectory, or choose tasks that the base model solves sometimes."
        )
    return f"{len(silent)} of {len(trained)} training steps had no learning signal."


def _tiles(steps: list[JobStep]) -> list[Tile]:
    evaluated = [step for step in steps if step.metrics.get("validation")]
    trained = [step for step in steps if step.metrics.get("train") and step.step > 0]
    base = evaluated[0] if evaluated else None
    now = evaluated[-1] if evaluated else None
    train = trained[-1] if trained else None
    gain = _difference(now, base, "reward_mean")
    calls, tokens = _of(base, "validation", "tool_calls_p95"), _of(base, "validation", "tokens_p95")
    loops = _of(base, "validation", "loop_rate")
    return [
        Tile(
            "Validation reward",
            figures.reward(_of(now, "validation", "reward_mean")),
            "" if gain is None or now is base else f"{figures.signed(gain)} from base",
        ),
        Tile("Train reward", figures.reward(_of(train, "train", "reward_mean"))),
        Tile(
            "Tool calls p95",
            figures.count(_of(now, "validation", "tool_calls_p95")),
            f"base {figures.count(calls)}",
        ),
        Tile(
            "Tokens p95",
            figures.count(_of(now, "validation", "tokens_p95")),
            f"base {figures.count(tokens)}",
        ),
        Tile(
            "Loop rate",
            figures.share(_of(now, "validation", "loop_rate")),
            f"base {figures.share(loops)}",
        ),
        Tile(
            "Ungraded",
            figures.count(_of(train, "train", "ungraded")),
            f"of {figures.count(_of(train, 'train', 'n'))} in the last step",
        ),
        Tile("Step time", figures.duration(_of(train, "seconds", "total"))),
    ]


def _difference(now: JobStep | None, base: JobStep | None, key: str) -> float | None:
    left, right = _of(now, "validation", key), _of(base, "validation", key)
    return None if left is None or right is None else left - right


def _of(step: JobStep | None, group: str, key: str) -> float | None:
    value = (step.metrics.get(group) or {}).get(key) if step is not None else None
    return float(value) if isinstance(value, int | float) else None
