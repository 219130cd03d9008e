"""The playground: one task tried by one or two models, beside each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.db.models import F
from msgspec import to_builtins

from graders.kinds.parts import models_in
from graders.models import GraderVersion
from hone.accounts.models import Organisation, User
from hone.accounts.selectors import access_organisation
from hone.accounts.services import audit_record
from hone.core.errors import UserError
from hone.core.ids import new_id
from hone.datasets.models import DatasetVersion
from hone.datasets.selectors import dataset_rows
from hone.tools.models import Recording, ToolVersion
from jobs.engine import events, spec
from jobs.models import (
    OPEN,
    BaseModel,
    Checkpoint,
    Desired,
    Job,
    Purpose,
    Run,
    Status,
    Tryout,
)
from jobs.selectors import base_models_ready, inputs
from jobs.selectors.access import checkpoint_of
from jobs.selectors.judges import judges_frozen
from jobs.selectors.tryouts import access_tryout
from jobs.services.control import run_end
from jobs.services.create import grader_frozen, job_enqueue, recording_frozen
from jobs.services.fork_checks import LORA
from jobs.services.lease import Lease, fence
from jobs.services.plain import plain

MOST_OPEN = 4
"""Of one organisation. Each takes a training worker for a while."""
BASE, CHECKPOINT = "base", "checkpoint"
TITLE = 80
CALLS_A_TURN = 4
LONGEST = 32_768
"""Tokens of a rollout, whatever more the model could take: its cache is paid for at once."""


@dataclass(frozen=True, kw_only=True)
class TryoutRequest:
    """What to try. A side is `base:<id>` or `checkpoint:<id>`; the task is row `row`, zero-based,
    of a dataset version, or else `messages`."""

    a: str
    b: str = ""
    version: str = ""
    row: int = 0
    messages: Sequence[dict[str, Any]] = ()
    tools: Sequence[str] = ()
    recording: str = ""
    grader: str = ""
    seed: int = 42
    temperature: float = 0.0
    max_turns: int = spec.Budgets().max_turns
    max_turn_tokens: int = spec.Budgets().max_turn_tokens


@dataclass(frozen=True)
class _Chosen:
    sides: list[tuple[BaseModel, Checkpoint | None]]
    version: DatasetVersion | None
    item: dict[str, Any]
    tools: list[ToolVersion]
    recording: Recording | None
    grader: GraderVersion | None


def tryout_create(*, acting_user: User, organisation: Organisation, request: TryoutRequest) -> Job:
    """Queue a try; UserError names the part that is missing."""
    access_organisation(acting_user, organisation.pk, need="write")
    chosen = _chosen(organisation, request)
    with transaction.atomic():
        # Whoever else asks for one of the same organisation waits here until this one is written.
        Organisation.objects.select_for_update().get(pk=organisation.pk)
        _refuse_too_many(organisation)
        job = _job_create(acting_user, organisation, request, chosen)
        Tryout.objects.create(
            job=job, item=chosen.item, row=request.row if chosen.version else None
        )
        names = [side["name"] for side in job.spec["sides"]]
        job_enqueue(job, f"To be tried by {' and by '.join(names)}.")
        _note(acting_user, job, "tryout.create", {"models": names, "seed": job.seed})
    return job


def tryout_stop(*, acting_user: User, job: Job) -> Job:
    """End a try: at once, or as soon as its engine has stopped. What it wrote so far stays."""
    job = access_tryout(acting_user, job.pk, need="write")
    with transaction.atomic():
        if not run_end(Run.objects.get(job=job), Desired.CANCEL, Status.CANCELLED):
            raise UserError(
                f"This try is {job.get_status_display().lower()} already and cannot be stopped.",
                code="wrong_state",
            )
        _note(acting_user, job, "tryout.stop", {})
    return access_tryout(acting_user, job.pk)


def tryout_note_turns(lease: Lease, news: events.TurnsSoFar) -> None:
    """Show the rollout in hand as it stands; raises Fenced."""
    with transaction.atomic():
        fence(lease, epoch=lease.epoch)
        Tryout.objects.filter(job=lease.job_id).update(
            live=plain(to_builtins(news.rollout)), live_step=news.step, heard=F("heard") + 1
        )


def _chosen(organisation: Organisation, request: TryoutRequest) -> _Chosen:
    version, item = _task(organisation, request)
    sides = [_side(organisation, request.a, "a")]
    if request.b:
        sides.append(_side(organisation, request.b, "b"))
    return _Chosen(
        sides=sides,
        version=version,
        item=item,
        tools=[
            _found(inputs.tool_version(organisation, tool), "tool", "tools")
            for tool in request.tools
        ],
        recording=_found(
            inputs.recording(organisation, request.recording), "recording", "recording"
        )
        if request.recording
        else None,
        grader=_found(inputs.grader_version(organisation, request.grader), "grader", "grader")
        if request.grader
        else None,
    )


def _task(
    organisation: Organisation, request: TryoutRequest
) -> tuple[DatasetVersion | None, dict[str, Any]]:
    if request.messages:
        return None, {"messages": list(request.messages)}
    if not request.version:
        raise UserError(
            "Choose a dataset and a row, or write messages of your own.",
            code="task_missing",
            field="version",
        )
    version = _found(inputs.dataset_version(organisation, request.version), "dataset", "version")
    if not 0 <= request.row < version.rows:
        raise UserError(
            f"{inputs.dataset_name(version)} has the rows 1 to {version.rows}, and "
            f"{request.row + 1} was asked for.",
            code="out_of_range",
            field="row",
        )
    try:
        return version, next(iter(dataset_rows(version, request.row, 1)))
    except (OSError, ValueError, StopIteration) as error:
        raise UserError(
            f"Row {request.row + 1} of {inputs.dataset_name(version)} cannot be read ({error}). "
            "Upload the dataset again, or choose another one.",
            code="dataset_unreadable",
            field="version",
        ) from error


def _side(
    organisation: Organisation, named: str, field: str
) -> tuple[BaseModel, Checkpoint | None]:
    kind, _, given = named.partition(":")
    pk = int(given) if given.isdecimal() and len(given) < 19 else 0
    if kind == CHECKPOINT:
        point: Checkpoint = _found(checkpoint_of(organisation, pk), "checkpoint", field)
        if not point.available:
            raise UserError(
                f"The files of step {point.step} of {point.run.job.name} are gone or damaged. "
                "Choose another checkpoint.",
                code="checkpoint_gone",
                field=field,
            )
        return point.run.job.base_model, point
    return _found(base_models_ready().filter(pk=pk).first(), "base model", field), None


def _found(value: Any, what: str, field: str) -> Any:
    if value is None:
        raise UserError(
            f"There is no {what} with the id that was sent, or it is not ready. Choose another.",
            code=f"{field}_unknown",
            field=field,
        )
    return value


def _refuse_too_many(organisation: Organisation) -> None:
    waiting = Job.objects.filter(
        organisation=organisation, purpose=Purpose.PLAYGROUND, status__in=OPEN
    )
    if waiting.count() >= MOST_OPEN:
        raise UserError(
            f"{MOST_OPEN} tries have not ended yet. Wait for one of them or stop one.",
            code="too_many_tries",
        )


def _job_create(
    user: User, organisation: Organisation, request: TryoutRequest, chosen: _Chosen
) -> Job:
    job = Job.objects.create(
        pk=new_id("try"),
        organisation=organisation,
        purpose=Purpose.PLAYGROUND,
        name=_name(request, chosen),
        spec=_frozen(organisation, request, chosen),
        base_model=chosen.sides[0][0],
        train_version=chosen.version,
        grader_version=chosen.grader,
        seed=request.seed,
        created_by=user,
        status=Status.QUEUED,
        total_steps=len(chosen.sides) - 1,
    )
    job.tool_versions.set(chosen.tools)
    return job


def _name(request: TryoutRequest, chosen: _Chosen) -> str:
    if chosen.version is not None:
        return f"{inputs.dataset_name(chosen.version)[:TITLE]}, row {request.row + 1}"
    said = str(chosen.item["messages"][-1].get("content") or "")
    words = " ".join(said.split())
    return (words if len(words) <= TITLE else f"{words[:TITLE]}…") or "own messages"


def _frozen(organisation: Organisation, request: TryoutRequest, chosen: _Chosen) -> dict[str, Any]:
    """As the spec of a job has it; what a try has not is empty."""
    models = models_in(chosen.grader.spec) if chosen.grader else []
    return {
        "sides": [_side_frozen(model, point) for model, point in chosen.sides],
        "train": None,
        "validation": None,
        "tools": [inputs.tool_spec(tool) for tool in chosen.tools],
        "grader": grader_frozen(chosen.grader) if chosen.grader else None,
        "judges": judges_frozen(organisation, models),
        "recording": recording_frozen(chosen.recording),
        "response_format": None,
        "budgets": {
            "max_turns": request.max_turns,
            "max_tool_calls": CALLS_A_TURN * request.max_turns,
            "max_turn_tokens": request.max_turn_tokens,
            "max_sampled_tokens": request.max_turns * request.max_turn_tokens,
            "max_total_tokens": _context([model for model, _ in chosen.sides]),
        },
        "engine": {"temperature": request.temperature},
    }


def _context(models: Sequence[BaseModel]) -> int:
    """As many tokens as the shortest context allows."""
    known = [model.context_length for model in models if model.context_length]
    return min([*known, LONGEST])


def _side_frozen(model: BaseModel, point: Checkpoint | None) -> dict[str, Any]:
    if point is None:
        return {
            "name": model.name,
            "base_model": model.pk,
            "base_name": model.name,
            "checkpoint": None,
            "engine": {},
            "start": None,
        }
    job = point.run.job
    engine: dict[str, Any] = job.spec.get("engine") or {}
    return {
        "name": f"{job.name}, step {point.step}",
        "base_model": model.pk,
        "base_name": model.name,
        "checkpoint": point.pk,
        "engine": {name: engine[name] for name in LORA if name in engine},
        "start": {"job": job.pk, "step": point.step, "manifest_sha256": point.manifest_sha256},
    }


def _note(user: User, job: Job, action: str, detail: dict[str, Any]) -> None:
    audit_record(
        acting_user=user,
        organisation=job.organisation,
        action=action,
        target=job.pk,
        detail={"name": job.name, **detail},
    )
