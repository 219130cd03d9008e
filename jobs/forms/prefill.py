"""A new job's form, filled in from an old job."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from jobs.models import Job
from jobs.selectors.choices import JobChoices, newest_version
from jobs.services.hyperparameters import AUTO, OPTIONS


@dataclass(frozen=True)
class Clone:
    """The choices of an old job, and how they differ from what it ran with."""

    values: dict[str, Any]
    notices: list[str]


def clone_job(job: Job, choices: JobChoices) -> Clone:
    """The choices of `job` as far as they can still be made; "auto" stays auto.

    Tools and the grader become their newest versions, for only these are offered. Tasks stay the
    version that they were, so that two jobs can be compared.
    """
    notices: list[str] = []
    asked: dict[str, Any] = job.spec.get("requested") or {}
    held_out = (job.spec.get("train") or {}).get("split_rows") is not None
    values = {
        "name": f"{job.name} (clone)"[:100],
        "base_model": _kept(choices.base_models, job.base_model_id),
        "train_version": _kept(choices.datasets, job.train_version_id),
        "validation_version": None,
        "validation_share": _share(job) if held_out else 0.1,
        "tool_versions": list(_tools(job, notices)),
        "grader_version": _grader(job, notices),
        "seed": job.seed,
        "metadata": "\n".join(f"{key}={value}" for key, value in job.metadata.items()),
        **{option.name: asked.get(option.name) or AUTO for option in OPTIONS},
    }
    if not values["base_model"]:
        notices.append(f"The base model {job.base_model.name} is not ready or is off.")
    if not values["train_version"]:
        notices.append(_gone("training tasks", _named(job, "train")))
    if not held_out:
        values["validation_version"] = _kept(choices.datasets, job.validation_version_id)
        if not values["validation_version"]:
            notices.append(_gone("validation tasks", _named(job, "validation")))
    return Clone(values, notices)


def _kept(choices: list[tuple[Any, str]], wanted: Any) -> Any:
    return wanted if any(pk == wanted for pk, _ in choices) else None


def _tools(job: Job, notices: list[str]) -> Iterator[str]:
    """The newest version of each tool; what is deleted is known by its name in the spec alone."""
    missing = {str(tool["name"]) for tool in job.spec.get("tools") or []}
    for version in job.tool_versions.select_related("tool").order_by("tool__name"):
        newest = newest_version(version.tool)
        if newest is None:
            continue
        missing.discard(version.tool.name)
        _note(notices, version.tool.name, version.number, newest.number)
        yield str(newest.pk)
    notices.extend(_gone("tool", name) for name in sorted(missing))


def _grader(job: Job, notices: list[str]) -> str | None:
    version = job.grader_version
    newest = newest_version(version.grader) if version else None
    if version is None or newest is None:
        notices.append(_gone("grader", _named(job, "grader")))
        return None
    _note(notices, version.grader.name, version.number, newest.number)
    return str(newest.pk)


def _note(notices: list[str], name: str, before: int, now: int) -> None:
    if now != before:
        notices.append(f"{name}: v{before} → v{now}")


def _gone(what: str, name: str) -> str:
    verb = "are" if what.endswith("s") else "is"
    return f"The {what} {name} {verb} gone: archived or deleted."


def _named(job: Job, part: str) -> str:
    return str((job.spec.get(part) or {}).get("name") or "of that job")


def _share(job: Job) -> float:
    """The share that was held out, from the two counts of rows."""
    held = int((job.spec.get("validation") or {}).get("rows") or 0)
    kept = int((job.spec.get("train") or {}).get("rows") or 0)
    return round(held / (held + kept), 4) if held + kept else 0.1
