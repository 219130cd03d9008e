"""What the job page says at a glance: verdict, tiles, place in the queue and time left."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from statistics import mean
from typing import Any

from django.db.models import Q, QuerySet, Subquery

from hone.core import figures
from jobs.models import Job, JobStep, Run, Status, StepBucket, Trajectory
from jobs.selectors.forecast import TimeLeft, step_seconds, time_left
from jobs.selectors.leads import Lead
from jobs.selectors.rollup import SIZES
from jobs.selectors.shared import growing, shared
from jobs.selectors.waits import Kept, Pause, Queue, kept_of, pause_of, queue_of, with_halt
from jobs.workbench.measures import Estimate, paired_difference

NEWEST = 120
"""Steps that the figures and their trends are made of; there may be many more."""


@dataclass(frozen=True)
class Tile:
    """One figure: now, and how it differs from the base model. Texts are ready to show."""

    title: str
    value: str
    note: str = ""
    step: int | None = None
    """Of which step the figure is."""


@dataclass(frozen=True)
class Overview:
    """Everything above the charts."""

    verdict: str
    tiles: list[Tile]
    steps: list[JobStep]
    """The newest ones, after the base model's and the last evaluated one."""
    focus: JobStep | None = None
    """The step that the tiles show, where one was asked for and there is such a step."""
    phase: dict[str, Any] = field(default_factory=dict)
    wanted: str = ""
    """`pause` or `cancel` while the engine is still at work."""
    recovering: bool = False
    pause_text: str = ""
    pause: Pause | None = None
    queue: Queue | None = None
    kept: Kept | None = None
    """Of a job that stands still or has failed."""
    left: TimeLeft | None = None
    no_signal: bool = False
    """It has trained, and no step had anything to learn from."""


def job_overview(lead: Lead, *, focus: int | None = None) -> Overview:
    """The state of a job in plain words, written from its data; the tiles of the step `focus`."""
    job, run = lead.job, lead.run
    stopped = job.status in {Status.PAUSED, Status.FAILED}
    halted = with_halt(Run.objects.all()).get(pk=run.pk) if stopped else None
    steps, shown = lead_steps(lead, focus)
    trained, silent = shared((*lead.state, "signal"), lambda: _signal_counts(run, steps))
    running = job.status == Status.RUNNING
    return Overview(
        verdict=_verdict(job, run, steps, trained, silent),
        tiles=_tiles(steps, shown, job.origin),
        steps=steps,
        focus=shown,
        phase=run.progress if running else {},
        wanted=run.desired if running and run.desired != "run" else "",
        recovering=running and run.status == Status.RUNNING and lead.lost,
        pause_text=_pause_text(run),
        pause=pause_of(job, halted) if halted else None,
        queue=queue_of(job),
        kept=kept_of(halted) if halted else None,
        left=time_left(job, step_seconds(steps)),
        no_signal=bool(trained) and silent == trained,
    )


def lead_steps(lead: Lead, focus: int | None = None) -> tuple[list[JobStep], JobStep | None]:
    """The newest steps, oldest first, after the base model's and the last evaluated one; and the
    step `focus`."""

    if focus is not None:
        return shared((*lead.state, "steps", focus), lambda: _focused(lead.run, focus))

    def made(before: list[JobStep] | None, newest: int) -> list[JobStep]:
        found = _grown(lead.run, before, newest) if before else None
        return found or _told(list(_wanted(lead.run)))

    return growing(lead.state, ("steps",), made), None


def _focused(run: Run, focus: int) -> tuple[list[JobStep], JobStep | None]:
    found = list(_wanted(run, Q(step=focus)))
    shown = next((step for step in found if step.step == focus), None)
    return _told(found), shown


def _wanted(run: Run, beside: Q | None = None) -> QuerySet[JobStep]:
    """One query, however many steps there are."""
    evaluated = StepBucket.objects.filter(
        run=run, size=SIZES[0], validation_reward__isnull=False
    ).order_by("-first")
    wanted = Q(step=0) | Q(step__gt=run.last_step - NEWEST)
    wanted |= Q(
        step__gte=Subquery(evaluated.values("first")[:1]),
        step__lte=Subquery(evaluated.values("last")[:1]),
    )
    wanted = wanted if beside is None else wanted | beside
    return JobStep.objects.filter(wanted, run=run).order_by("step")


def _grown(run: Run, before: list[JobStep], newest: int) -> list[JobStep] | None:
    """With the steps after those of `before`; None where these reach further."""
    seen = before[-1].step
    if seen > newest:
        return None
    fresh = JobStep.objects.filter(run=run, step__gt=seen, step__lte=newest)
    return _told([*before, *fresh.order_by("step")])


def _told(found: list[JobStep]) -> list[JobStep]:
    """What of the steps the page tells of; those that it told of before are among them."""
    newest, older = found[-NEWEST:], found[:-NEWEST]
    kept = [step for step in older if step.step == 0]
    if not any(step.metrics.get("validation") for step in newest):
        kept += [step for step in older if step.step and step.metrics.get("validation")][-1:]
    return [*kept, *newest]


def _signal_counts(run: Run, steps: list[JobStep]) -> tuple[int, int]:
    """How many steps trained, and how many of those had nothing to learn from."""
    if len(steps) < NEWEST:
        trained = _trained(steps)
        return len(trained), sum(not _of(step, "groups", "with_signal") for step in trained)
    rows = StepBucket.objects.filter(run=run, size=SIZES[-1])
    found = [cell for cell in rows.values_list("figures__groups.silent", flat=True) if cell]
    return round(sum(cell[4] for cell in found)), round(sum(cell[3] for cell in found))


def _pause_text(run: Run) -> str:
    if run.status != Status.PAUSED:
        return ""
    return run.pause_text or f"{run.get_pause_reason_display()}."


def _verdict(job: Job, run: Run, steps: list[JobStep], trained: int, silent: int) -> str:
    signal = _signal_sentence(steps, trained, silent)
    sentences = [_state_sentence(job), _reward_sentence(job, run, steps), signal]
    return " ".join(sentence for sentence in sentences if sentence)


def _state_sentence(job: Job) -> str:
    match job.status:
        case Status.FAILED:
            return f"Failed {_when(job)}: {job.error_message}"
        case Status.PAUSED:
            return f"Paused {_when(job)}."
        case Status.CANCELLED:
            return f"Cancelled {_when(job)}."
        case Status.RUNNING if job.last_step < 0:
            return f"{_first_measured(job)} is being evaluated."
    return ""


def _first_measured(job: Job) -> str:
    return "The checkpoint it starts from" if job.spec.get("start") else "The base model"


def _when(job: Job) -> str:
    return f"after step {job.last_step}" if job.last_step >= 0 else "before step 0 was done"


def _reward_sentence(job: Job, run: Run, steps: list[JobStep]) -> str:
    evaluated = [step for step in steps if _of(step, "validation", "reward_mean") is not None]
    if not evaluated:
        return ""
    base, last = evaluated[0], evaluated[-1]
    now = figures.reward(_of(last, "validation", "reward_mean"))
    if base is last:
        if job.spec.get("start"):
            return f"The validation reward at its start is {now}."
        return f"The base model's validation reward is {now}."
    before = figures.reward(_of(base, "validation", "reward_mean"))
    change = _paired_change(run, base.step, last.step)
    text = f"Validation reward {now} at step {last.step}, {job.origin} {before}"
    if change is None or change.low is None or change.high is None:
        return f"{text}."
    trend = (
        "Rising."
        if change.low > 0
        else "Falling."
        if change.high < 0
        else ("No change that these tasks can show.")
    )
    middle, low, high = map(figures.signed, (change.value, change.low, change.high))
    return f"{text} ({middle}, 95 % interval {low} to {high}, {change.n} tasks). {trend}"


def _paired_change(run: Run, first: int, last: int) -> Estimate | None:
    """Mean change by task, added up once for all viewers."""
    key = (run.pk, run.epoch, "paired", first, last)
    return shared(key, lambda: _paired(run, first, last))


def _paired(run: Run, first: int, last: int) -> Estimate | None:
    rewards: dict[int, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    graded = Trajectory.objects.filter(
        run=run, step__in=(first, last), split="validation", reward__isnull=False
    )
    for step, row, reward in graded.values_list("step", "row", "reward"):
        rewards[row][step].append(float(reward or 0.0))
    both = [by for by in rewards.values() if len(by) == 2]
    return paired_difference([mean(by[first]) for by in both], [mean(by[last]) for by in both])


def _trained(steps: list[JobStep]) -> list[JobStep]:
    return [step for step in steps if _of(step, "groups", "total") is not None and step.step]


def _signal_sentence(steps: list[JobStep], trained: int, silent: int) -> str:
    if not silent:
        return ""
    if silent == trained:
        rewards = {figures.reward(_of(step, "train", "reward_mean")) for step in _trained(steps)}
        shown = rewards.pop() if len(rewards) == 1 else "the same within each group"
        return (
            f"There is no learning signal: in all {silent} training steps every group's "
            f"rewards were equal ({shown}), so nothing was learned. Check the grader on a "
            "trajectory, or choose tasks that the base model solves sometimes."
        )
    return f"{silent} of {trained} training steps had no learning signal."


def _tiles(steps: list[JobStep], focus: JobStep | None, origin: str) -> list[Tile]:
    """Of the newest steps, or of `focus` and the last evaluation up to it."""
    if focus is not None:
        steps = [*(step for step in steps if step.step < focus.step), focus]
    evaluated = [step for step in steps if step.metrics.get("validation")]
    trained = [step for step in steps if step.metrics.get("train") and step.step > 0]
    base = evaluated[0] if evaluated else None
    now = evaluated[-1] if evaluated else None
    train = trained[-1] if trained else None
    if focus is not None and train is not focus:
        train = None
    at, trained_at = (each.step if each else None for each in (now, train))
    gain = _difference(now, base, "reward_mean")
    calls, tokens = _of(base, "validation", "tool_calls_p95"), _of(base, "validation", "tokens_p95")
    loops = _of(base, "validation", "loop_rate")
    return [
        Tile(
            "Validation reward",
            figures.reward(_of(now, "validation", "reward_mean")),
            _evaluated_at(now, base, gain, focus, origin),
            at,
        ),
        Tile("Train reward", figures.reward(_of(train, "train", "reward_mean")), step=trained_at),
        Tile(
            "Tool calls p95",
            figures.count(_of(now, "validation", "tool_calls_p95")),
            f"{origin} {figures.count(calls)}",
            at,
        ),
        Tile(
            "Tokens p95",
            figures.count(_of(now, "validation", "tokens_p95")),
            f"{origin} {figures.count(tokens)}",
            at,
        ),
        Tile(
            "Loop rate",
            figures.share(_of(now, "validation", "loop_rate")),
            f"{origin} {figures.share(loops)}",
            at,
        ),
        Tile(
            "Ungraded",
            figures.count(_of(train, "train", "ungraded")),
            f"of {figures.count(_of(train, 'train', 'n'))} in "
            + (f"step {focus.step}" if focus is not None else "the last step"),
            trained_at,
        ),
        Tile("Step time", figures.duration(_of(train, "seconds", "total"))),
    ]


def _evaluated_at(
    now: JobStep | None,
    base: JobStep | None,
    gain: float | None,
    focus: JobStep | None,
    origin: str,
) -> str:
    change = "" if gain is None or now is base else f"{figures.signed(gain)} from {origin}"
    if focus is None or now is None or now.step == focus.step:
        return change
    return f"of step {now.step}" + (f", {change}" if change else "")


def _difference(now: JobStep | None, base: JobStep | None, key: str) -> float | None:
    left, right = _of(now, "validation", key), _of(base, "validation", key)
    return None if left is None or right is None else left - right


def _of(step: JobStep | None, group: str, key: str) -> float | None:
    value = (step.metrics.get(group) or {}).get(key) if step is not None else None
    return float(value) if isinstance(value, int | float) else None
