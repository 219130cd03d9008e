"""A new job's form, filled in from an old job."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from hone.core.figures import count
from jobs.models import Checkpoint, Job, RunKind
from jobs.selectors.choices import JobChoices, Version
from jobs.services.fork_checks import LORA
from jobs.services.hyperparameters import AUTO
from jobs.services.options import OPTIONS

MICRO_BATCH = ("micro_batch_tokens", "Tokens a micro-batch", 4096, 512)
ATTEMPTS = ("group_size", "Attempts a task", 256, 4)
"""What needs memory: its name, its label, the most that a CPU takes at once, the least that is
worth trying."""


@dataclass(frozen=True)
class Clone:
    """The choices of an old job, and how they differ from what it ran with."""

    values: dict[str, Any]
    notices: list[str]
    source: Job
    start: Checkpoint | None = None
    """What it begins with in the place of the base model."""


def clone_job(job: Job, choices: JobChoices) -> Clone:
    """The choices of `job` as far as they can still be made; "auto" stays auto.

    Tools and the grader become their newest versions, for only these are offered. Tasks stay the
    version that they were, so that two jobs can be compared.
    """
    notices: list[str] = []
    return _clone(job, choices, _begun(job, notices), notices)


def _clone(job: Job, choices: JobChoices, start: Checkpoint | None, notices: list[str]) -> Clone:
    asked: dict[str, Any] = job.spec.get("requested") or {}
    held_out = (job.spec.get("train") or {}).get("split_rows") is not None
    values = {
        "name": job.name if job.is_preflight else f"{job.name} (clone)"[:100],
        "start_checkpoint": start.pk if start else None,
        "base_model": _kept(choices.base_models, job.base_model_id),
        "train_version": _kept(choices.datasets, job.train_version_id),
        "validation_version": None,
        "validation_share": _share(job) if held_out else 0.1,
        "tool_versions": list(_tools(job, choices, notices)),
        "recording": _recording(job, choices, notices),
        "grader_version": _grader(job, choices, notices),
        **_credit(job, choices, notices),
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
    return Clone(values, notices, job, start)


def mended_job(job: Job, choices: JobChoices) -> Clone:
    """As `clone_job`, of a job that ran out of memory with half of what needed it: while it learned
    the tokens of a micro-batch, and else the attempts a task."""
    clone = clone_job(job, choices)
    if job.error_code != "out_of_memory":
        return clone
    run = job.runs.filter(kind=RunKind.TRAIN).first()
    learned = run is not None and run.progress.get("phase") == "learning"
    name, label, most, least = MICRO_BATCH if learned else ATTEMPTS
    engine: dict[str, Any] = job.spec.get("engine") or {}
    used = min(int(engine.get(name) or 0), most)
    if used // 2 < least:
        told = f"It ran out of memory with few {label.lower()} already: choose a smaller model."
        return replace(clone, notices=[told, *clone.notices])
    told = f"{label}: {count(used // 2)}, half of what it had when it ran out of memory."
    values = {**clone.values, name: str(used // 2)}
    return replace(clone, values=values, notices=[told, *clone.notices])


def fork_job(checkpoint: Checkpoint, choices: JobChoices) -> Clone:
    """As `clone_job`, to begin with the checkpoint: the adapter's shape is its, not "auto"."""
    job = checkpoint.run.job
    clone = _clone(job, choices, checkpoint, [])
    engine: dict[str, Any] = job.spec.get("engine") or {}
    shape = {name: str(engine[name]) for name in LORA if name in engine}
    return replace(clone, values={**clone.values, "name": f"{job.name} (fork)"[:100], **shape})


def rebase_job(job: Job, choices: JobChoices) -> Clone:
    """As `clone_job`, on a base model that is still to be chosen."""
    clone = clone_job(job, choices)
    told = (
        f"Choose the base model. The adapter is not carried over: its matrices were trained for "
        f"the layers of {job.base_model.name}, and fit no other model. What is auto is worked out "
        "anew for the model that you choose."
    )
    gone = f"The base model {job.base_model.name} is not ready or is off."
    others = [notice for notice in clone.notices if notice != gone]
    rebased = {"name": f"{job.name} (rebased)"[:100], "base_model": None, "start_checkpoint": None}
    return Clone({**clone.values, **rebased}, [told, *others], job)


def _kept(choices: list[tuple[Any, str]], wanted: Any) -> Any:
    return wanted if any(pk == wanted for pk, _ in choices) else None


def _begun(job: Job, notices: list[str]) -> Checkpoint | None:
    """A clone of a fork begins as the fork did, as long as its checkpoint is there."""
    frozen = job.spec.get("start")
    if not frozen:
        return None
    start = job.start_checkpoint
    if start is None or not start.available:
        words = f"The checkpoint of step {frozen['step']} of {frozen['name']}, which it began with,"
        notices.append(f"{words} is gone. The clone begins with the base model.")
        return None
    return start


def _tools(job: Job, choices: JobChoices, notices: list[str]) -> Iterator[str]:
    """The newest version of each tool; what is deleted is known by its name in the spec alone."""
    missing = {str(tool["name"]) for tool in job.spec.get("tools") or []}
    chosen = job.tool_versions.order_by("tool__name").values_list("pk", flat=True)
    for renewed in filter(None, map(choices.tools.renewed, chosen)):
        missing.discard(renewed[0].name)
        yield _newest(renewed, notices)
    notices.extend(_gone("tool", name) for name in sorted(missing))


def _recording(job: Job, choices: JobChoices, notices: list[str]) -> str:
    frozen = job.spec.get("recording")
    if not frozen:
        return ""
    if _kept(choices.recordings, frozen["id"]) is None:
        notices.append(_gone("recording", frozen["name"]))
        return ""
    return str(frozen["id"])


def _grader(job: Job, choices: JobChoices, notices: list[str]) -> str | None:
    renewed = choices.graders.renewed(job.grader_version_id)
    if renewed is None:
        notices.append(_gone("grader", _named(job, "grader")))
        return None
    return _newest(renewed, notices)


def _credit(job: Job, choices: JobChoices, notices: list[str]) -> dict[str, Any]:
    """What scores turns and what watches; of a grader the version on offer, the newest."""
    rewards: dict[str, Any] = job.spec.get("turn_rewards") or {}
    return {
        "turn_grader": _offered(rewards.get("grader"), "turn grader", choices, notices),
        "turn_judge": _judge(rewards.get("judge"), choices, notices),
        "judge_instructions": (rewards.get("judge") or {}).get("instructions", ""),
        "gold_answer": rewards.get("gold", ""),
        "held_out_grader": _offered(
            job.spec.get("held_out_grader"), "held-out grader", choices, notices
        ),
    }


def _judge(frozen: dict[str, Any] | None, choices: JobChoices, notices: list[str]) -> str:
    if not frozen:
        return ""
    named = str(frozen["model"])
    if _kept(choices.judges, named) is None:
        notices.append(_gone("judge of turns", named))
        return ""
    return named


def _offered(
    frozen: dict[str, Any] | None, what: str, choices: JobChoices, notices: list[str]
) -> str | None:
    """The newest version of a grader that the job froze whole."""
    if not frozen:
        return None
    renewed = choices.graders.renewed(frozen["version"])
    if renewed is None:
        notices.append(_gone(what, str(frozen["name"])))
        return None
    return _newest(renewed, notices)


def _newest(renewed: tuple[Version, Version], notices: list[str]) -> str:
    """The id of what is on offer; a newer version than the job's is told."""
    before, now = renewed
    if now != before:
        notices.append(f"{now.name}: v{before.number} → v{now.number}")
    return now.pk


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
