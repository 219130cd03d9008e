"""A job as one JSON object, written piece by piece: 100,000 steps never lie in memory together."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

from django.db.models import Count, QuerySet, Sum

from jobs.models import Adapter, Checkpoint, Job, JobEvent, RunKind, Trajectory, Usage
from jobs.models.record import EventLevel
from jobs.selectors.browse import job_steps

SCHEMA_VERSION = 1
AT_ONCE = 500
USED = (
    "rollouts", "sampled_tokens", "total_tokens", "trained_tokens", "tool_calls", "seconds",
    "judge_calls", "judge_tokens", "judge_cost",
)  # fmt: skip
ENDS = 5
"""How many trajectories with the highest and with the lowest reward are listed."""


def report_pieces(job: Job) -> Iterator[str]:
    """The report as pieces of JSON text; equal for equal rows, with nothing of the moment."""
    yield f'{{"object": "hone.job_report", "schema_version": {SCHEMA_VERSION}'
    for name, value in (
        ("job", job_facts(job)),
        ("spec", job.spec),
        ("usage", job_usage(job)),
        ("adapter", adapter_facts(job)),
    ):
        yield f', "{name}": {_json(value)}'
    yield from _array("checkpoints", map(checkpoint_facts, report_checkpoints(job)))
    yield from _array("alarms", map(alarm_facts, job_alarms(job).iterator(chunk_size=AT_ONCE)))
    yield from _array("steps", _steps(job))
    yield "}\n"


def job_facts(job: Job) -> dict[str, Any]:
    """What the row says of itself."""
    return {
        "id": job.pk,
        "name": job.name,
        "status": job.status,
        "base_model": job.base_model.name,
        "seed": job.seed,
        "metadata": job.metadata,
        "total_steps": job.total_steps,
        "last_step": job.last_step,
        "baseline_reward": job.baseline_reward,
        "best_reward": job.best_reward,
        "best_step": job.best_step,
        "last_reward": job.last_reward,
        "engine_seconds": job.engine_seconds,
        "error": {"code": job.error_code, "message": job.error_message} if job.error_code else None,
        "created_at": _time(job.created_at),
        "started_at": _time(job.started_at),
        "finished_at": _time(job.finished_at),
    }


def job_usage(job: Job) -> dict[str, float]:
    """What its training consumed, all steps together."""
    rows = Usage.objects.filter(run__job=job, run__kind=RunKind.TRAIN)
    sums = rows.aggregate(**{f"all_{name}": Sum(name) for name in USED})
    return {name: sums[f"all_{name}"] or 0 for name in USED}


def adapter_facts(job: Job) -> dict[str, Any] | None:
    """The exported adapter with its proof; None where there is none."""
    adapter = Adapter.objects.filter(job=job).first()
    if adapter is None:
        return None
    return {
        "step": adapter.step,
        "sha256": adapter.sha256,
        "bytes": adapter.bytes,
        "proof": {
            "max_abs_logprob_diff": adapter.proof_max_abs_logprob_diff,
            "tokens": adapter.proof_tokens,
            "base_max_abs_logprob_diff": adapter.base_max_abs_logprob_diff,
        },
    }


def report_checkpoints(job: Job) -> QuerySet[Checkpoint]:
    """Those that are still on disk, by step."""
    rows = Checkpoint.objects.filter(run__job=job, run__kind=RunKind.TRAIN, available=True)
    return rows.order_by("step")


def checkpoint_facts(row: Checkpoint) -> dict[str, Any]:
    return {
        "step": row.step,
        "validation_reward": row.validation_reward,
        "kept": row.kept,
        "pinned": row.pinned,
        "verified_at": _time(row.verified_at),
        "manifest_sha256": row.manifest_sha256,
        "bytes": row.bytes,
    }


def job_alarms(job: Job) -> QuerySet[JobEvent]:
    """Warnings and errors, in the order they were told."""
    return JobEvent.objects.filter(job=job).exclude(level=EventLevel.INFO).order_by("pk")


def alarm_facts(event: JobEvent) -> dict[str, Any]:
    return {
        "step": event.step,
        "level": event.level,
        "code": event.code,
        "text": event.text,
        "data": event.data,
        "at": _time(event.created_at),
    }


def ends_of(job: Job, step: int) -> tuple[list[Trajectory], list[Trajectory], int, int]:
    """The validation attempts of a step with the highest and lowest rewards; graded, ungraded."""
    rows = Trajectory.objects.filter(
        run__job=job, run__kind=RunKind.TRAIN, step=step, split="validation"
    )
    counts = rows.aggregate(n=Count("pk"), graded=Count("reward"))
    graded = rows.filter(reward__isnull=False)
    best = list(graded.order_by("-reward", "pk")[:ENDS])
    seen = {each.pk for each in best}
    worst = list(graded.exclude(pk__in=seen).order_by("reward", "pk")[:ENDS])
    return best, worst, counts["graded"], counts["n"] - counts["graded"]


def _steps(job: Job) -> Iterator[dict[str, Any]]:
    for step in job_steps(job).iterator(chunk_size=AT_ONCE):
        yield {"step": step.step, "at": _time(step.created_at), "metrics": step.metrics}


def _array(name: str, items: Iterable[dict[str, Any]]) -> Iterator[str]:
    yield f', "{name}": ['
    for at, item in enumerate(items):
        yield f"{',' if at else ''}\n{_json(item)}"
    yield "]"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()
