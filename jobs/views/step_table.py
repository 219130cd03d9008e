"""The charts' numbers as a table: one row a step."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from jobs.models import JobStep

CSV_COLUMNS = (
    "train.reward_mean",
    "train.graded",
    "train.ungraded",
    "validation.reward_mean",
    "validation.graded",
    "train.tool_calls_mean",
    "train.tool_calls_p95",
    "validation.tool_calls_p95",
    "train.tokens_mean",
    "train.tokens_p95",
    "validation.tokens_p95",
    "train.loop_rate",
    "validation.loop_rate",
    "groups.total",
    "groups.with_signal",
    "credit.turns",
    "credit.turns_with_evidence",
    "credit.anchored_share",
    "credit.anchored_explained",
    "credit.anchored_weight",
    "learning.loss",
    "learning.grad_norm",
    "learning.entropy",
    "learning.mismatch_kl",
    "learning.updated",
    "seconds.total",
)


def step_rows(steps: Iterable[JobStep]) -> list[dict[str, Any]]:
    """Newest first; keys are the column names with `_` for the dot."""
    rows = [
        {"step": step.step, **{name.replace(".", "_"): _value(step, name) for name in CSV_COLUMNS}}
        for step in steps
    ]
    return rows[::-1]


def csv_row(step: JobStep) -> list[Any]:
    """The step and its figures as the engine reported them."""
    return [step.step, *(_value(step, name) for name in CSV_COLUMNS)]


def _value(step: JobStep, name: str) -> Any:
    group, _, key = name.partition(".")
    return (step.metrics.get(group) or {}).get(key)
