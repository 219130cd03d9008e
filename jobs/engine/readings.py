"""What an alarm sees at a step, and the alarms that a step decides alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jobs.engine.insight.sums import correlation

Metrics = Mapping[str, Mapping[str, Any]]

MISMATCH_WARN = 0.01
MISMATCH_SEVERE = 0.1
SAMPLE_SIZE_LOW = 0.5
CLIPPED_SHARE = 0.2
UNGRADED_SHARE = 0.05
FEW_UNGRADED = 2
"""Fewer are chance, however small the step is."""
DUPLICATE_SHARE = 0.5
PART_SHARE = 0.8
"""Of the reward's variance; a part that explains more decides alone."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What an alarm sees at a step: whether its condition holds, and the evidence."""

    on: bool
    text: str
    data: dict[str, Any]


def number(metrics: Metrics, section: str, name: str) -> float | None:
    """A metric, or None where it is missing or not finite."""
    value = metrics.get(section, {}).get(name)
    return float(value) if value is not None and math.isfinite(value) else None


def mismatch(metrics: Metrics) -> Reading | None:
    value = number(metrics, "learning", "mismatch_kl")
    if value is None:
        return None
    seen = f"mismatch KL is {value:.4f}"
    text = (
        f"Sampler and trainer disagree about the probabilities of sampled tokens: {seen}, above "
        f"{MISMATCH_WARN}. Watch the reward; if this goes on, use a lower learning rate."
    )
    if value > MISMATCH_SEVERE:
        text = (
            f"Sampler and trainer disagree strongly: {seen}, above {MISMATCH_SEVERE}. Updates are "
            "no longer reliable. Pause the job, check that both use the same weights, precision "
            "and chat template, and go back to an earlier checkpoint."
        )
    return Reading(value > MISMATCH_WARN, text, {"mismatch_kl": value})


def low_ess(metrics: Metrics) -> Reading | None:
    value = number(metrics, "learning", "effective_sample_size")
    if value is None:
        return None
    text = (
        f"A few tokens decide the update: the effective sample size is {value:.2f} of 1, below "
        f"{SAMPLE_SIZE_LOW}. Use a lower learning rate or more rollouts for each step."
    )
    return Reading(value < SAMPLE_SIZE_LOW, text, {"effective_sample_size": value})


def clipped(metrics: Metrics) -> Reading | None:
    value = number(metrics, "learning", "ratio_clipped")
    if value is None:
        return None
    text = (
        f"Many tokens are clipped: the ratio of {100 * value:.1f} % of the trained tokens is "
        f"beyond the loss's bound, above {100 * CLIPPED_SHARE:.0f} %. The weights have moved far "
        "from those that sampled: use a lower learning rate or fewer updates for each step."
    )
    return Reading(value > CLIPPED_SHARE, text, {"ratio_clipped": value})


def ungraded(metrics: Metrics) -> Reading | None:
    lost, total = number(metrics, "train", "ungraded"), number(metrics, "train", "n")
    if lost is None or not total:
        return None
    causes = metrics["train"].get("ungraded_causes") or {}
    most = max(sorted(causes), key=lambda cause: causes[cause], default="unknown")
    text = (
        f"{lost:.0f} of {total:.0f} attempts have no reward, above {100 * UNGRADED_SHARE:.0f} %; "
        f"most often: {most.rstrip('.')}. They train nothing, and what is left may be another kind "
        "of task. Mend the tool or the grader that it names."
    )
    share = lost / total
    data = {"share": share, "ungraded": lost, "total": total}
    return Reading(share > UNGRADED_SHARE and lost >= FEW_UNGRADED, text, data)


def duplicates(metrics: Metrics) -> Reading | None:
    share = number(metrics, "duplicates", "share")
    if share is None:
        return None
    found = metrics["duplicates"]
    text = (
        f"Attempts at a task repeat each other: {found['copies']} of {found['total']} are word by "
        f"word a sibling's, above {100 * DUPLICATE_SHARE:.0f} %. Equal attempts have equal rewards "
        "and teach nothing: use a higher temperature or harder tasks."
    )
    return Reading(share > DUPLICATE_SHARE, text, {"share": share, "group": found["group"]})


def dominant_part(metrics: Metrics) -> tuple[str, float] | None:
    """The part that explains most of the reward, and how much; None where it has not two parts
    that vary with it or without it."""
    graders = metrics.get("insight", {}).get("train", {}).get("graders", {})
    parts: Mapping[str, Mapping[str, Any]] = graders.get("parts") or {}
    known = {name: correlation(sums.get("reward") or {}) for name, sums in parts.items()}
    explained = {name: r * r for name, r in known.items() if r is not None}
    if len(parts) < 2 or not explained:
        return None
    name = max(sorted(explained), key=lambda each: explained[each])
    return name, explained[name]
