"""The result of a demo job: a table for people, one JSON object for programs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from hone.datasets.models import DatasetVersion
from hone.datasets.selectors import dataset_rows
from jobs.models import Job, JobStep, Trajectory

KEYS = ("reward_mean", "tool_calls_mean", "tool_calls_p95", "loop_rate", "tokens_p95")


def evaluated_steps(job: Job) -> list[JobStep]:
    """The steps with a validation, oldest first: the first is the base model's."""
    steps = JobStep.objects.filter(run__job=job).order_by("step")
    return [step for step in steps if step.metrics.get("validation")]


def measured(step: JobStep) -> dict[str, float]:
    """The figures of one evaluation, under the names of the demo's JSON."""
    validation = step.metrics["validation"]
    return {
        key.removesuffix("_mean") if key == "reward_mean" else key: validation[key] for key in KEYS
    }


def as_json(job: Job) -> dict[str, Any]:
    """The demo's last line: baseline and final are measured on the same validation tasks."""
    steps = evaluated_steps(job)
    adapter = getattr(job, "adapter", None)
    return {
        "job": job.id,
        "status": job.status,
        "steps": steps[-1].step if steps else 0,
        "wall_s": job.engine_seconds,
        "baseline": measured(steps[0]) if steps else {},
        "final": measured(steps[-1]) if steps else {},
        "adapter": str(adapter.folder) if adapter else None,
        "adapter_sha256": adapter.sha256 if adapter else None,
    }


def by_family(
    job: Job, version: DatasetVersion, steps: Iterable[int]
) -> dict[str, dict[int, float]]:
    """Mean validation reward of each question family at each of the steps."""
    family_of = {
        number: str(row.get("family", "all"))
        for number, row in enumerate(dataset_rows(version, 0, version.rows))
    }
    table: dict[str, dict[int, float]] = defaultdict(dict)
    for step in steps:
        rewards: dict[str, list[float]] = defaultdict(list)
        graded = Trajectory.objects.filter(
            run__job=job, step=step, split="validation", reward__isnull=False
        )
        for row, reward in graded.order_by("row").values_list("row", "reward"):
            rewards[family_of[row]].append(float(reward or 0.0))
        for family, found in rewards.items():
            table[family][step] = sum(found) / len(found)
    return dict(table)


def steps_after(job: Job, step: int) -> list[JobStep]:
    """The committed steps after `step`, oldest first."""
    return list(JobStep.objects.filter(run__job=job, step__gt=step).order_by("step"))


def step_line(step: JobStep) -> str:
    """One line about a step while the demo runs."""
    train, validation = step.metrics.get("train") or {}, step.metrics.get("validation") or {}
    parts = [f"step {step.step:3d}"]
    if train.get("reward_mean") is not None:
        parts.append(f"train reward {train['reward_mean']:.3f}")
    if validation.get("reward_mean") is not None:
        parts.append(f"validation reward {validation['reward_mean']:.3f}")
        parts.append(f"loops {100 * validation['loop_rate']:.1f} %")
    parts.append(f"{step.metrics['seconds']['total']:.1f} s")
    return "   ".join(parts)


def table(job: Job, validation: DatasetVersion) -> list[str]:
    """The result for people: each figure and each family, before and after."""
    steps = evaluated_steps(job)
    if not steps:
        return ["No step was evaluated."]
    first, last = steps[0], steps[-1]
    before, after = measured(first), measured(last)
    lines = ["", f"{'':20s}{'before':>10s}{'after':>10s}"]
    lines += [f"{key:20s}{before[key]:10.3f}{after[key]:10.3f}" for key in before]
    lines += ["", f"{'reward by family':20s}"]
    families = by_family(job, validation, [first.step, last.step])
    for family, rewards in families.items():
        pair = (rewards.get(first.step), rewards.get(last.step))
        shown = "".join(f"{'–' if value is None else f'{value:.3f}':>10s}" for value in pair)
        lines.append(f"  {family:18s}{shown}")
    return lines
