"""What a job would take, from what a preflight measured. Pure; every factor is shown.

A step draws its tasks, and draws again for those without signal, up to `max_refills` times. With a
share s of tasks with signal it rolls out B · (1 + (1 − s) + (1 − s)² + …) tasks; the range comes of
the interval of s and of the slowest and the quickest slice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

from jobs.workbench.preflight_figures import Figures, Share

LEARNING_SHARE = 0.5
"""Learning takes this much of the time of sampling, where no update was timed."""
TUNING_PASSES = 3
"""How often supervised fine-tuning reads each demonstration."""


@dataclass(frozen=True)
class Speed:
    """What the worker managed: seconds a rollout, many at once, slice by slice."""

    rollout_seconds: tuple[float, ...]
    learner_seconds: float | None = None
    """One update's seconds a rollout."""
    learner_token_seconds: float | None = None
    """One update's seconds a token, prompts included."""
    tokens_per_second: float | None = None
    """Sampled."""

    @property
    def mean(self) -> float | None:
        own = self.rollout_seconds
        return sum(own) / len(own) if own else None


@dataclass(frozen=True)
class Plan:
    """The settings of the job that decide its time."""

    steps: int
    tasks_a_step: int
    group_size: int
    max_refills: int
    eval_interval: int
    eval_samples: int
    train_rows: int
    validation_rows: int

    @classmethod
    def of_spec(cls, spec: Mapping[str, Any]) -> Plan:
        """From a job's frozen spec."""
        engine = spec["engine"]
        return cls(
            steps=engine["steps"],
            tasks_a_step=engine["groups_per_step"],
            group_size=engine["group_size"],
            max_refills=engine["max_refills"],
            eval_interval=engine["eval_interval"],
            eval_samples=engine["eval_samples"],
            train_rows=spec["train"]["rows"],
            validation_rows=spec["validation"]["rows"],
        )

    @property
    def evaluations(self) -> int:
        """Step 0, each interval, and the last step."""
        return 1 + ceil(self.steps / self.eval_interval)


@dataclass(frozen=True)
class Range:
    """A figure with the least and the most that it may be."""

    middle: float
    low: float
    high: float

    def times(self, factor: float) -> Range:
        return Range(self.middle * factor, self.low * factor, self.high * factor)


@dataclass(frozen=True)
class Estimate:
    """Time of the job in seconds, of which `wasted` is spent on tasks without signal."""

    seconds: Range
    rollouts: Range
    wasted: float
    """Share of the rollout time."""
    cost: Range | None
    lines: tuple[str, ...]
    """Each factor in words."""
    assumptions: tuple[str, ...]


@dataclass(frozen=True)
class Tuning:
    """Supervised fine-tuning on attempts that pass, instead of the job."""

    passes: int
    tokens: int
    seconds: float | None
    more_passes: int
    """What the same number of attempts at every training task would give."""
    more_seconds: float | None
    """Sampling those and learning from them."""
    cost: float | None
    more_cost: float | None


def estimate(
    plan: Plan, speed: Speed, signal: Share, *, hour_price: float | None = None
) -> Estimate | None:
    """None where nothing was timed."""
    if not speed.rollout_seconds or not speed.mean or signal.value is None:
        return None
    rates = Range(speed.mean, min(speed.rollout_seconds), max(speed.rollout_seconds))
    shares = Range(signal.value, signal.high, signal.low)
    triples = [
        (rates.middle, shares.middle),
        (rates.low, shares.low),
        (rates.high, shares.high),
    ]
    seconds = Range(*(_seconds(plan, speed, rate, share) for rate, share in triples))
    drawn = Range(*(_drawn(plan, share) for _, share in triples))
    rollouts = drawn.times(plan.steps * plan.group_size)
    return Estimate(
        seconds=seconds,
        rollouts=rollouts,
        wasted=1 - _taught(plan, signal.value) / drawn.middle,
        cost=None if hour_price is None else seconds.times(hour_price / 3600),
        lines=_lines(plan, speed, rates, rollouts),
        assumptions=_assumptions(speed),
    )


def _drawn(plan: Plan, share: float) -> float:
    """Tasks that one step rolls out."""
    return plan.tasks_a_step * sum((1 - share) ** round_ for round_ in range(plan.max_refills + 1))


def _taught(plan: Plan, share: float) -> float:
    """Tasks of a step that carry signal."""
    return _drawn(plan, share) * share


def _seconds(plan: Plan, speed: Speed, rate: float, share: float) -> float:
    sampling = plan.steps * plan.group_size * _drawn(plan, share) * rate
    if speed.learner_seconds is None:
        learning = LEARNING_SHARE * sampling
    else:
        taught = plan.steps * plan.group_size * _taught(plan, share)
        learning = taught * speed.learner_seconds
    return sampling + learning + _evaluated(plan) * rate


def _evaluated(plan: Plan) -> int:
    """Rollouts of all evaluations."""
    return plan.evaluations * plan.validation_rows * plan.eval_samples


def _lines(plan: Plan, speed: Speed, rates: Range, rollouts: Range) -> tuple[str, ...]:
    lines = [
        f"{plan.steps} steps of {plan.tasks_a_step} tasks × {plan.group_size} attempts, with "
        f"refills about {rollouts.middle:.0f} rollouts ({rollouts.low:.0f} to {rollouts.high:.0f})",
        f"{_evaluated(plan)} rollouts in {plan.evaluations} evaluations of "
        f"{plan.validation_rows} validation tasks × {plan.eval_samples}",
        f"{rates.middle:.3g} s a rollout ({rates.low:.3g} to {rates.high:.3g}), measured with as "
        "many at once as a step has",
    ]
    if speed.learner_seconds is not None:
        lines.append(f"{speed.learner_seconds:.3g} s of learning a rollout with signal, measured")
    if speed.tokens_per_second is not None:
        lines.append(f"{speed.tokens_per_second:.0f} sampled tokens a second, measured")
    return tuple(lines)


def _assumptions(speed: Speed) -> tuple[str, ...]:
    found = [
        "A trained model may write longer or shorter answers than the base model.",
        "Loading the model, checkpoints and the export of the adapter are not counted.",
    ]
    if speed.learner_seconds is None:
        found.insert(
            0, f"No update was timed: learning is taken as {LEARNING_SHARE:.0%} of sampling."
        )
    if len(speed.rollout_seconds) < 2:
        found.append("One slice was timed, so the range is that of the refills alone.")
    return tuple(found)


def tuning(
    plan: Plan, speed: Speed, figures: Figures, *, hour_price: float | None = None
) -> Tuning | None:
    """None where no attempt passes."""
    passes = figures.passes.count
    if not passes:
        return None
    seconds = _learning(speed, figures.passing_tokens)
    made = plan.train_rows * plan.group_size
    more = round(made * passes / figures.attempts)
    tokens = figures.passing_tokens / passes * more
    learning, rate = _learning(speed, tokens), speed.mean
    whole = None if learning is None or rate is None else made * rate + learning
    return Tuning(
        passes=passes,
        tokens=figures.passing_tokens,
        seconds=seconds,
        more_passes=more,
        more_seconds=whole,
        cost=_cost(seconds, hour_price),
        more_cost=_cost(whole, hour_price),
    )


def _learning(speed: Speed, tokens: float) -> float | None:
    each = speed.learner_token_seconds
    return None if each is None else each * tokens * TUNING_PASSES


def _cost(seconds: float | None, hour_price: float | None) -> float | None:
    return None if seconds is None or hour_price is None else seconds * hour_price / 3600


def speed_of(slices: Sequence[Mapping[str, Any]]) -> Speed:
    """From the metrics of the slices that say something about the model."""
    # A slice that is not full has fewer attempts at once, and says less of a step.
    most = max((each["preflight"]["n"] for each in slices), default=0)
    timed = [each for each in slices if most and each["preflight"]["n"] == most]
    sampling = [each["seconds"]["rollout"] + each["seconds"]["grading"] for each in timed]
    counts = [each["preflight"]["n"] for each in timed]
    sampled = sum(
        (each["preflight"].get("tokens_mean") or 0.0) * each["preflight"]["n"] for each in timed
    )
    trials = (each.get("trial") or {} for each in slices)
    trial: Mapping[str, Any] = next((one for one in trials if one.get("rollouts")), {})
    seconds = trial.get("seconds")
    return Speed(
        rollout_seconds=tuple(
            spent / count for spent, count in zip(sampling, counts, strict=True) if spent > 0
        ),
        learner_seconds=seconds / trial["rollouts"] if seconds else None,
        learner_token_seconds=seconds / trial["total_tokens"] if seconds else None,
        tokens_per_second=sampled / sum(sampling) if sum(sampling) > 0 and sampled else None,
    )
