"""A job comes to exist: checked as a whole, frozen, queued, and its bell rung after commit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db import transaction

from graders.models import GraderVersion
from hone.accounts.models import Organisation, User
from hone.accounts.selectors import access_organisation
from hone.accounts.services import audit_record
from hone.core import text
from hone.datasets.models import DatasetVersion
from hone.tools.models import Recording
from jobs.errors import JobRefused
from jobs.models import Checkpoint, Job, Purpose, Run, RunKind, Status
from jobs.selectors import inputs
from jobs.selectors.adapters import checkpoint_damage
from jobs.selectors.judges import judges_frozen
from jobs.selectors.preflights import preflight_of
from jobs.services.bell import ring
from jobs.services.checkpoints import checkpoint_found, checkpoint_pin
from jobs.services.checks import job_checks
from jobs.services.chosen import Inputs, request_inputs
from jobs.services.hyperparameters import Setting, value_of
from jobs.services.judge_checks import wanted_models
from jobs.services.request import JobRequest
from jobs.services.state import event_record

ENGINE_NAMES = {"batch_size": "groups_per_step"}
BUDGETS = (
    "max_turns",
    "max_tool_calls",
    "max_turn_tokens",
    "max_sampled_tokens",
    "max_total_tokens",
    "wall_s",
)
FOLDED = frozenset(
    {"n_epochs", "learning_rate_multiplier", "compute_multiplier", "reasoning_effort"}
)
"""Settings that other settings were worked out from; the engine knows only those."""


@dataclass(frozen=True)
class Ready:
    """A request that passed every check, with the rows that it names."""

    organisation: Organisation
    acting_user: User
    request: JobRequest
    chosen: Inputs
    settings: list[Setting]

    def value(self, name: str) -> Any:
        return value_of(self.settings, name)


def job_create(*, acting_user: User, organisation: Organisation, request: JobRequest) -> Job:
    """Create a job and queue it; JobRefused with every problem where it cannot run."""
    ready = request_ready(acting_user, organisation, request)
    start_verify(ready)
    start = ready.chosen.start
    with transaction.atomic():
        job = job_write(ready, Purpose.TRAIN, steps=ready.value("steps"))
        audit_record(
            acting_user=acting_user,
            organisation=organisation,
            action="job.create",
            target=job.pk,
            detail={"name": job.name, **({"start": _start(start)} if start else {})},
        )
    return job


def start_verify(ready: Ready) -> None:
    """Read a fork's checkpoint once more: whoever starts the job hears what is wrong with it."""
    start = ready.chosen.start
    if start is None:
        return
    damage = checkpoint_damage(start)
    checkpoint_found(start, damage)
    if damage:
        raise JobRefused([("checkpoint_corrupt", "start_checkpoint", f"{damage}. Fork another.")])


def request_ready(acting_user: User, organisation: Organisation, request: JobRequest) -> Ready:
    """Check everything together; raises JobRefused."""
    access_organisation(acting_user, organisation.id, need="write")
    checked = job_checks(organisation, request)
    if not checked.may_start:
        raise JobRefused([(check.code, check.field, check.sentence) for check in checked.problems])
    chosen, _ = request_inputs(organisation, request)
    return Ready(organisation, acting_user, request, chosen, checked.settings)


def job_write(ready: Ready, purpose: Purpose, *, steps: int, **fields: Any) -> Job:
    """The row, its leading run and its bell, in a transaction of the caller's."""
    request, chosen = ready.request, ready.chosen
    assert chosen.base_model is not None
    job = Job.objects.create(
        organisation=ready.organisation,
        purpose=purpose,
        name=text.name(request.name or f"job on {chosen.base_model}"),
        spec=_frozen(ready.organisation, request, chosen, ready.settings),
        base_model=chosen.base_model,
        start_checkpoint=chosen.start,
        train_version=chosen.train,
        validation_version=chosen.validation,
        grader_version=chosen.grader,
        seed=request.seed,
        metadata=dict(request.metadata),
        created_by=ready.acting_user,
        status=Status.QUEUED,
        total_steps=steps,
        **fields,
    )
    job.tool_versions.set(chosen.tools)
    said = f"{purpose.label if purpose is Purpose.PREFLIGHT else 'Job'} created and queued."
    if chosen.start is not None:
        start_keep(ready, chosen.start)
        said += f" It begins with step {chosen.start.step} of {chosen.start.run.job.name}."
    job_enqueue(job, said)
    return job


def job_enqueue(job: Job, said: str) -> None:
    """The leading run of a new job and its bell, in a transaction of the caller's."""
    run = Run.objects.create(
        job=job, kind=RunKind(job.purpose), status=Status.QUEUED, total_steps=job.total_steps
    )
    event_record(job_id=job.pk, run_id=run.pk, code="created", text=said)
    ring(run.pk)


def start_keep(ready: Ready, start: Checkpoint) -> None:
    """A fork keeps its checkpoint, whoever prunes meanwhile."""
    if not start.pinned:
        checkpoint_pin(acting_user=ready.acting_user, checkpoint=start)


def _start(start: Checkpoint) -> dict[str, Any]:
    """Where a fork comes from, for good: the checkpoint's row may go one day."""
    return {
        "job": start.run.job_id,
        "name": start.run.job.name,
        "step": start.step,
        "manifest_sha256": start.manifest_sha256,
        "validation_reward": start.validation_reward,
    }


def _frozen(
    organisation: Organisation, request: JobRequest, chosen: Inputs, settings: list[Setting]
) -> dict[str, Any]:
    """The spec as it will run, with names and hashes of what it was made from."""
    assert chosen.train
    assert chosen.validation
    assert chosen.grader
    assert chosen.base_model
    values = {setting.name: setting.value for setting in settings}
    budgets = {name: values[name] for name in BUDGETS}
    if request.deterministic:
        budgets["wall_s"] = None
    return {
        "requested": dict(request.hyperparameters),
        "settings": [setting.as_dict() for setting in settings],
        "base_model": {"name": chosen.base_model.name, "source": chosen.base_model.source},
        "start": _start(chosen.start) if chosen.start else None,
        "preflight": _preflight(organisation, chosen),
        "train": _dataset(chosen.train, chosen.train_rows),
        "validation": _dataset(chosen.validation, chosen.validation_rows),
        "tools": [inputs.tool_spec(tool) for tool in chosen.tools],
        "grader": grader_frozen(chosen.grader),
        "turn_rewards": _turn_rewards(request, chosen),
        "judges": judges_frozen(organisation, wanted_models(chosen, request)),
        "held_out_grader": _grader_whole(chosen.held_out) if chosen.held_out else None,
        "recording": recording_frozen(chosen.recording),
        "response_format": dict(request.response_format) if request.response_format else None,
        "budgets": budgets,
        "engine": _engine(values)
        | {
            "deterministic": request.deterministic,
            "shuffle_rewards": request.shuffle_rewards,
        },
    }


def _preflight(organisation: Organisation, chosen: Inputs) -> dict[str, Any] | None:
    """What was known before the job was paid for; None where nobody tried."""
    assert chosen.train
    assert chosen.grader
    assert chosen.base_model
    done = preflight_of(organisation, chosen.train, chosen.base_model, chosen.grader)
    return None if done is None else {"id": done.pk, "verdict": done.preflight.verdict}


def recording_frozen(recording: Recording | None) -> dict[str, Any] | None:
    if recording is None:
        return None
    return {"id": recording.pk, "name": recording.name, "sha256": recording.sha256}


def _engine(values: dict[str, Any]) -> dict[str, Any]:
    return {
        ENGINE_NAMES.get(name, name): value
        for name, value in values.items()
        if name not in FOLDED and name not in BUDGETS
    }


def _turn_rewards(request: JobRequest, chosen: Inputs) -> dict[str, Any] | None:
    if chosen.turn_grader is not None:
        return {"grader": _grader_whole(chosen.turn_grader)}
    if request.turn_judge:
        instructions = request.judge_instructions.strip()
        return {"judge": {"model": request.turn_judge, "instructions": instructions}}
    gold = request.gold_answer.strip()
    return {"gold": gold} if gold else None


def grader_frozen(version: GraderVersion) -> dict[str, Any]:
    return {"name": str(version), "version": version.pk, "sha256": version.sha256}


def _grader_whole(version: GraderVersion) -> dict[str, Any]:
    """With its spec, which holds no secrets: the job keeps it when the grader is deleted."""
    return {**grader_frozen(version), "spec": version.spec}


def _dataset(version: DatasetVersion, rows: tuple[int, ...] | None) -> dict[str, Any]:
    return {
        "name": inputs.dataset_name(version),
        "version": version.pk,
        "sha256": version.sha256,
        "rows": version.rows if rows is None else len(rows),
        "split_rows": None if rows is None else list(rows),
    }
