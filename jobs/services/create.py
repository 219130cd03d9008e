"""A job comes to exist: checked as a whole, frozen, queued, and its bell rung after commit."""

from __future__ import annotations

from typing import Any

from django.db import transaction

from hone.accounts.models import Organisation, User
from hone.accounts.selectors import access_organisation
from hone.accounts.services import audit_record
from hone.core import text
from hone.datasets.models import DatasetVersion
from jobs.errors import JobRefused
from jobs.models import Job, Run, RunKind, Status
from jobs.selectors import inputs
from jobs.services.bell import ring
from jobs.services.checks import Inputs, job_checks, request_inputs
from jobs.services.hyperparameters import Setting
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


def job_create(*, acting_user: User, organisation: Organisation, request: JobRequest) -> Job:
    """Create a job and queue it; JobRefused with every problem where it cannot run."""
    access_organisation(acting_user, organisation.id, need="write")
    checked = job_checks(organisation, request)
    if not checked.may_start:
        raise JobRefused([(check.code, check.field, check.sentence) for check in checked.problems])
    chosen, _ = request_inputs(organisation, request)
    assert chosen.base_model is not None
    name = text.name(request.name or f"job on {chosen.base_model}")
    values = {setting.name: setting.value for setting in checked.settings}
    with transaction.atomic():
        job = Job.objects.create(
            organisation=organisation,
            name=name,
            spec=_frozen(request, chosen, checked.settings),
            base_model=chosen.base_model,
            train_version=chosen.train,
            validation_version=chosen.validation,
            grader_version=chosen.grader,
            seed=request.seed,
            metadata=dict(request.metadata),
            created_by=acting_user,
            status=Status.QUEUED,
            total_steps=values["steps"],
        )
        job.tool_versions.set(chosen.tools)
        run = Run.objects.create(
            job=job, kind=RunKind.TRAIN, status=Status.QUEUED, total_steps=values["steps"]
        )
        event_record(job_id=job.pk, run_id=run.pk, code="created", text="Job created and queued.")
        audit_record(
            acting_user=acting_user,
            organisation=organisation,
            action="job.create",
            target=job.pk,
            detail={"name": name},
        )
        ring(run.pk)
    return job


def _frozen(request: JobRequest, chosen: Inputs, settings: list[Setting]) -> dict[str, Any]:
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
        "train": _dataset(chosen.train, chosen.train_rows),
        "validation": _dataset(chosen.validation, chosen.validation_rows),
        "tools": [inputs.tool_spec(tool) for tool in chosen.tools],
        "grader": {
            "name": str(chosen.grader),
            "version": chosen.grader.pk,
            "sha256": chosen.grader.sha256,
        },
        "response_format": dict(request.response_format) if request.response_format else None,
        "budgets": budgets,
        "engine": _engine(values)
        | {
            "deterministic": request.deterministic,
            "shuffle_rewards": request.shuffle_rewards,
        },
    }


def _engine(values: dict[str, Any]) -> dict[str, Any]:
    return {
        ENGINE_NAMES.get(name, name): value
        for name, value in values.items()
        if name not in FOLDED and name not in BUDGETS
    }


def _dataset(version: DatasetVersion, rows: tuple[int, ...] | None) -> dict[str, Any]:
    return {
        "name": inputs.dataset_name(version),
        "version": version.pk,
        "sha256": version.sha256,
        "rows": version.rows if rows is None else len(rows),
        "split_rows": None if rows is None else list(rows),
    }
