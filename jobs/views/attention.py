"""The attention block: which rules fired, their value against the limit, and the way to look."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.urls import reverse
from django.utils.http import urlencode
from django.utils.safestring import SafeString

from hone.core import figures
from jobs.engine import alarms, readings
from jobs.models import Job, JobStep
from jobs.selectors.attention import Raised
from jobs.views.svg import sparkline
from jobs.views.tiles import TREND, figure_of

STORED = "@"
"""Begins the value of a filter that the alarm's own data tells."""


@dataclass(frozen=True)
class Door:
    """A way to what made an alarm: a page of the job at the step, narrowed by `filters`."""

    words: str
    filters: Mapping[str, str] = field(default_factory=dict)
    page: str = "job-trajectories"


@dataclass(frozen=True)
class Rule:
    """How a rule is said: `value` names the figure in its data, `chart` shows it over steps, and
    `column` of the steps' figures is drawn beside it; empty where none is."""

    words: str
    limit: str
    value: str
    unit: str
    chart: str
    column: str = ""
    doors: tuple[Door, ...] = (Door("Trajectories", {"split": "train"}),)


SILENT_SHARE = "silent share"
TRENDS = {
    "learning.entropy": "Entropy per token",
    "learning.mismatch_kl": "Mismatch KL",
    "learning.effective_sample_size": "Effective sample size",
    "learning.ratio_clipped": "Share of clipped tokens",
    "learning.grad_norm": "Norm of the gradient",
    SILENT_SHARE: "Share of groups without a signal",
    "train.ungraded": "Ungraded attempts",
    "validation.reward_mean": "Validation reward",
    "validation.held_out_mean": "Held-out score",
    "train.tokens_mean": "Tokens per attempt",
}
"""What each line beside an alarm draws; all but one are figures of a step."""
SILENT = {"split": "train", "flag": "no_signal"}
HIGH = {"reward_from": "0.9"}
RULES = {
    "entropy_collapse": Rule(
        "Entropy collapsed",
        f"below {figures.share(alarms.ENTROPY_SHARE)} of the first {alarms.WINDOW} trained steps",
        "entropy", "reward", "entropy", "learning.entropy",
    ),
    "mismatch": Rule(
        "Sampler and trainer differ", f"above {readings.MISMATCH_WARN}", "mismatch_kl", "small",
        "mismatch", "learning.mismatch_kl",
    ),
    "low_ess": Rule(
        "A few tokens decide the update", f"below {readings.SAMPLE_SIZE_LOW}",
        "effective_sample_size", "reward", "entropy",
        "learning.effective_sample_size",
    ),
    "clipped": Rule(
        "Many tokens are clipped", f"above {figures.share(readings.CLIPPED_SHARE)} of tokens",
        "ratio_clipped", "share", "mismatch", "learning.ratio_clipped",
    ),
    "gradient_spike": Rule(
        "The gradient jumped",
        f"above {alarms.NORM_FACTOR:g} × the median of the last {alarms.WINDOW} steps",
        "grad_norm", "reward", "entropy", "learning.grad_norm",
        (Door("Longest attempts", {"split": "train", "sort": "-tokens"}),),
    ),
    "silent_groups": Rule(
        "Most groups teach nothing", f"above {figures.share(alarms.SILENT_SHARE)} of groups",
        "share", "share", "silent", SILENT_SHARE,
        (
            Door("All-failed groups", {**SILENT, "reward_to": "0"}),
            Door("all-solved groups", {**SILENT, "reward_from": "1"}),
        ),
    ),
    "duplicates": Rule(
        "Attempts repeat each other",
        f"above {figures.share(readings.DUPLICATE_SHARE)} equal to a sibling", "share", "share",
        "entropy", "", (Door("The group with most", {"split": "train", "group": "@group"}),),
    ),
    "ungraded": Rule(
        "Attempts without a reward",
        f"above {figures.share(readings.UNGRADED_SHARE)}, at least {readings.FEW_UNGRADED}",
        "share", "share", "ungraded", "train.ungraded",
        (Door("Ungraded attempts", {"split": "train", "flag": "ungraded"}),),
    ),
    "one_part": Rule(
        "One part of the reward decides",
        f"above {figures.share(readings.PART_SHARE)} of its variance for {alarms.WINDOW} steps",
        "explained", "share", "parts", "",
        (
            Door("The parts at this step", page="job-graders"),
            Door("highest rewards", {"split": "train", "part": "@part", "sort": "-reward"}),
        ),
    ),
    "reward_gap": Rule(
        "Train reward up, validation flat", f"validation change under {alarms.FLAT}",
        "validation_change", "signed", "reward", "validation.reward_mean",
        (Door("High train rewards", {"split": "train", **HIGH}),),
    ),
    "held_out_gap": Rule(
        "Reward up, held-out grader flat", f"held-out change under {alarms.FLAT}",
        "held_out_change", "signed", "reward", "validation.held_out_mean",
        (
            Door("High rewards with a low held-out score", page="job-graders"),
            Door("all high rewards", {"split": "validation", **HIGH}),
        ),
    ),
    "length_up": Rule(
        "Longer answers, no better reward",
        f"above {alarms.LENGTH_FACTOR:g} × the first {alarms.WINDOW} steps",
        "tokens_mean", "count", "tokens", "train.tokens_mean",
        (Door("Longest attempts", {"split": "train", "sort": "-tokens"}),),
    ),
    "no_turn_scores": Rule(
        "No turn got a score", "every turn unscored", "turns_unscored", "count", "reward", "",
    ),
}  # fmt: skip
_WRITE = {
    "reward": figures.reward,
    "small": figures.small,
    "share": figures.share,
    "signed": figures.signed,
    "count": figures.count,
}


@dataclass(frozen=True)
class Alarm:
    """A row of the block. `told`: what its rule told last, and by whom it is seen already."""

    told: Raised
    words: str
    value: str
    limit: str
    evidence: list[tuple[str, str]]
    """Words and addresses."""
    chart: str
    trend: SafeString


def attention(job: Job, raised: Sequence[Raised], steps: Sequence[JobStep]) -> dict[str, Any]:
    """The rows, and in how many rules they were looked for; `steps` are the newest ones."""
    return {
        "alarms": [_alarm(job, each, steps) for each in raised],
        "unseen": sum(not each.is_quiet for each in raised),
        "rules": list(RULES.values()),
        "checked": job.last_step if job.last_step > 0 else None,
    }


def _alarm(job: Job, raised: Raised, steps: Sequence[JobStep]) -> Alarm:
    rule = RULES[raised.code]
    value = raised.data.get(rule.value)
    return Alarm(
        told=raised,
        words=rule.words,
        value=_WRITE[rule.unit](value) if isinstance(value, int | float) else figures.ABSENT,
        limit=rule.limit,
        evidence=[(door.words, _address(job, raised, door)) for door in rule.doors],
        chart=rule.chart,
        trend=_trend(rule, steps),
    )


def _trend(rule: Rule, steps: Sequence[JobStep]) -> SafeString:
    """A figure over the newest steps, between its own least and largest."""
    found = [_figure(step, rule.column) for step in steps]
    known = [value for value in found if value is not None][-TREND:]
    return sparkline(
        known,
        low=min(known, default=0.0),
        high=max(known, default=1.0),
        label=f"{TRENDS.get(rule.column, '')}, the last {len(known)} steps that tell it",
    )


def _figure(step: JobStep, name: str) -> float | None:
    if name == SILENT_SHARE:
        total, signal = (figure_of(step, "groups", key) for key in ("total", "with_signal"))
        return 1 - signal / total if total and signal is not None else None
    group, _, key = name.partition(".")
    return figure_of(step, group, key)


def _address(job: Job, raised: Raised, door: Door) -> str:
    """What the alarm's data does not tell is not asked for."""
    asked: dict[str, Any] = {"step": raised.last}
    for name, value in door.filters.items():
        found = raised.data.get(value[1:], "") if value.startswith(STORED) else value
        if found:
            asked[name] = found
    return f"{reverse(door.page, args=[job.pk])}?{urlencode(asked)}"
