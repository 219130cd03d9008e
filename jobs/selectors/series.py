"""Columns for charts: one value a step, or a mean a bucket where there are many steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jobs.models import Job, JobStep

MOST_POINTS = 400

Column = list[float | None]

_PLAIN = {
    "train_reward": ("train", "reward_mean"),
    "validation_reward": ("validation", "reward_mean"),
    "tool_calls_mean": ("train", "tool_calls_mean"),
    "tool_calls_p95": ("train", "tool_calls_p95"),
    "validation_tool_calls_mean": ("validation", "tool_calls_mean"),
    "validation_tool_calls_p95": ("validation", "tool_calls_p95"),
    "tokens_mean": ("train", "tokens_mean"),
    "tokens_p50": ("train", "tokens_p50"),
    "tokens_p95": ("train", "tokens_p95"),
    "tokens_p99": ("train", "tokens_p99"),
    "validation_tokens_mean": ("validation", "tokens_mean"),
    "validation_tokens_p95": ("validation", "tokens_p95"),
    "turns_mean": ("train", "turns_mean"),
    "loop_rate": ("train", "loop_rate"),
    "validation_loop_rate": ("validation", "loop_rate"),
    "ungraded": ("train", "ungraded"),
    "tool_seconds_p50": ("train", "tool_seconds_p50"),
    "tool_seconds_p95": ("train", "tool_seconds_p95"),
    "groups_total": ("groups", "total"),
    "groups_with_signal": ("groups", "with_signal"),
    "groups_all_solved": ("groups", "all_solved"),
    "groups_all_failed": ("groups", "all_failed"),
    "loss": ("learning", "loss"),
    "grad_norm": ("learning", "grad_norm"),
    "entropy": ("learning", "entropy"),
    "mismatch_kl": ("learning", "mismatch_kl"),
    "effective_sample_size": ("learning", "effective_sample_size"),
    "ratio_clipped": ("learning", "ratio_clipped"),
    "learning_rate": ("learning", "learning_rate"),
}


def job_series(job: Job) -> dict[str, Any]:
    """All columns of a job's charts; `step` names each point (the last step of its bucket).

    Plain columns are lists beside `step`; `stops` (shares), `seconds` and `parts` hold one list
    for each name. None where a step has no such figure.
    """
    rows = list(
        JobStep.objects.filter(run__job=job, run__kind="train")
        .order_by("step")
        .values_list("step", "metrics")
    )
    size = max(1, -(-len(rows) // MOST_POINTS))
    metrics = [row[1] for row in rows]
    series: dict[str, Any] = {
        "step": [rows[min(at + size, len(rows)) - 1][0] for at in range(0, len(rows), size)]
    }
    for name, (group, key) in _PLAIN.items():
        series[name] = _buckets([_figure(step.get(group), key) for step in metrics], size)
    series["stops"] = _families([_shares(step) for step in metrics], size)
    series["seconds"] = _families([step.get("seconds") or {} for step in metrics], size)
    series["parts"] = _families(
        [_group(step, "train").get("parts") or {} for step in metrics], size
    )
    series["validation_parts"] = _families(
        [_group(step, "validation").get("parts") or {} for step in metrics], size
    )
    return series


def _group(metrics: dict[str, Any], name: str) -> dict[str, Any]:
    return metrics.get(name) or {}


def _shares(metrics: dict[str, Any]) -> dict[str, float]:
    """Stop reasons of a step as shares; of the validation where the step did not train."""
    stops = _group(metrics, "train").get("stops") or _group(metrics, "validation").get("stops")
    total = sum((stops or {}).values())
    return {reason: count / total for reason, count in (stops or {}).items()} if total else {}


def _families(rows: Sequence[dict[str, Any]], size: int) -> dict[str, Column]:
    names = sorted({name for row in rows for name in row})
    return {name: _buckets([_figure(row, name) for row in rows], size) for name in names}


def _figure(row: dict[str, Any] | None, key: str) -> float | None:
    value = (row or {}).get(key)
    return float(value) if isinstance(value, int | float) else None


def _buckets(column: Column, size: int) -> Column:
    if size == 1:
        return column
    return [_mean(column[at : at + size]) for at in range(0, len(column), size)]


def _mean(values: Column) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
