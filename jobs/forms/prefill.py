"""A new job's form, filled in from an old job."""

from __future__ import annotations

from typing import Any

from jobs.models import Job
from jobs.services.hyperparameters import AUTO, OPTIONS


def clone_values(job: Job) -> dict[str, Any]:
    """The choices of `job`; versions that are gone are left out, "auto" stays auto."""
    asked: dict[str, Any] = job.spec.get("requested") or {}
    train: dict[str, Any] = job.spec.get("train") or {}
    held_out = train.get("split_rows") is not None
    return {
        "name": f"{job.name} (clone)"[:100],
        "base_model": job.base_model_id,
        "train_version": job.train_version_id,
        "validation_version": None if held_out else job.validation_version_id,
        "validation_share": _share(job) if held_out else 0.1,
        "tool_versions": [str(pk) for pk in job.tool_versions.values_list("pk", flat=True)],
        "grader_version": job.grader_version_id,
        "seed": job.seed,
        "metadata": "\n".join(f"{key}={value}" for key, value in job.metadata.items()),
        **{option.name: asked.get(option.name) or AUTO for option in OPTIONS},
    }


def _share(job: Job) -> float:
    """The share that was held out, from the two counts of rows."""
    held = int((job.spec.get("validation") or {}).get("rows") or 0)
    kept = int((job.spec.get("train") or {}).get("rows") or 0)
    return round(held / (held + kept), 4) if held + kept else 0.1
