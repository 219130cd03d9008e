"""The attention block: which rules fired, their value against the limit, and the way to look."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.urls import reverse

from hone.core import figures
from jobs.engine import alarms
from jobs.models import Job
from jobs.selectors.attention import Raised


@dataclass(frozen=True)
class Rule:
    """How a rule is said: `value` names the figure in its data, `chart` shows it over steps."""

    words: str
    limit: str
    value: str
    unit: str
    chart: str
    query: str = ""


RULES = {
    "entropy_collapse": Rule(
        "Entropy collapsed",
        f"below {alarms.ENTROPY_SHARE:.0%} of the first {alarms.WINDOW} trained steps".replace(
            "%", f"{figures.THIN}%"
        ),
        "entropy",
        "reward",
        "entropy",
    ),
    "mismatch": Rule(
        "Sampler and trainer differ", f"above {alarms.MISMATCH_WARN}", "mismatch_kl", "small",
        "mismatch",
    ),
    "low_ess": Rule(
        "A few tokens decide the update", f"below {alarms.SAMPLE_SIZE_LOW}",
        "effective_sample_size", "reward", "entropy",
    ),
    "silent_groups": Rule(
        "Most groups teach nothing", f"above {figures.share(alarms.SILENT_SHARE)} of groups",
        "share", "share", "silent", "flag=no_signal",
    ),
    "reward_gap": Rule(
        "Train reward up, validation flat", f"validation change under {alarms.FLAT}",
        "validation_change", "signed", "reward", "split=train&reward_from=0.9",
    ),
    "held_out_gap": Rule(
        "Reward up, held-out grader flat", f"held-out change under {alarms.FLAT}",
        "held_out_change", "signed", "reward", "split=validation&reward_from=0.9",
    ),
    "length_up": Rule(
        "Longer answers, no better reward",
        f"above {alarms.LENGTH_FACTOR:g} × the first {alarms.WINDOW} steps",
        "tokens_mean", "count", "tokens",
    ),
    "no_turn_scores": Rule(
        "No turn got a score", "every turn unscored", "turns_unscored", "count", "reward",
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
    """A row of the block."""

    words: str
    value: str
    limit: str
    first: int
    last: int
    count: int
    text: str
    evidence: str
    chart: str


def attention(job: Job, raised: Sequence[Raised]) -> dict[str, Any]:
    """The rows, and in how many rules they were looked for."""
    return {
        "alarms": [_alarm(job, each) for each in raised],
        "rules": list(RULES.values()),
        "checked": job.last_step if job.last_step > 0 else None,
    }


def _alarm(job: Job, raised: Raised) -> Alarm:
    rule = RULES[raised.code]
    value = raised.data.get(rule.value)
    query = f"?step={raised.last}" + (f"&{rule.query}" if rule.query else "")
    return Alarm(
        words=rule.words,
        value=_WRITE[rule.unit](value) if isinstance(value, int | float) else figures.ABSENT,
        limit=rule.limit,
        first=raised.first,
        last=raised.last,
        count=raised.count,
        text=raised.text,
        evidence=reverse("job-trajectories", args=[job.pk]) + query,
        chart=rule.chart,
    )
