"""The sample workspace: an organisation with the ledger desk's data, tools, grader and model."""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.files.base import ContentFile
from django.db import transaction

from graders.models import Grader, GraderVersion
from graders.services.authoring import grader_create
from hone.accounts.models import Organisation, User
from hone.accounts.selectors import may
from hone.accounts.services import owner_create
from hone.core.environment import whole_number
from hone.core.errors import UserError
from hone.datasets.models import Dataset, DatasetVersion
from hone.datasets.services import dataset_create
from hone.demo.base_model import WEIGHTS
from hone.demo.world.settings import demo_hyperparameters
from hone.demo.world.tasks import grader_spec, training_rows, validation_rows
from hone.demo.world.tools import definitions
from hone.tools.models import Tool, ToolVersion
from hone.tools.selectors import latest_version
from hone.tools.services import HIGHEST_RATE, ToolFields, tool_create, tool_version_add
from jobs.models import BaseModel, Job
from jobs.models.states import OPEN
from jobs.services.control import job_cancel
from jobs.services.create import job_create
from jobs.services.models_list import base_model_add
from jobs.services.request import JobRequest

EMAIL = "demo@hone.local"
ORGANISATION = "Ledger desk (demo)"
MODEL = "ledger-tiny"
_Thing = TypeVar("_Thing", Dataset, Tool, Grader)


@dataclass(frozen=True)
class Workspace:
    """Everything the demo job needs."""

    user: User
    organisation: Organisation
    base_model: BaseModel
    training: DatasetVersion
    validation: DatasetVersion
    tools: tuple[ToolVersion, ...]
    grader: GraderVersion


def tool_port() -> int:
    """The loopback port of the demo's tool server."""
    try:
        return whole_number("HONE_DEMO_PORT", 8765)
    except ImproperlyConfigured as error:
        raise UserError(str(error)) from error


def tools_allow() -> None:
    """Allow the demo's port beside the operator's list, in this process and in its children."""
    port = f"127.0.0.1:{tool_port()}"
    if port not in settings.OUTBOUND_ALLOW:
        settings.OUTBOUND_ALLOW = (*settings.OUTBOUND_ALLOW, port)


def child_environment() -> dict[str, str]:
    """The environment of the processes: what is allowed here is allowed there."""
    return {
        **os.environ,
        "HONE_OUTBOUND_ALLOW": ",".join(settings.OUTBOUND_ALLOW),
        "HONE_DATA_DIR": str(settings.DATA_DIR),
        "DJANGO_SETTINGS_MODULE": "hone.settings",
    }


def workspace_find() -> Organisation | None:
    """The sample workspace's organisation, or None where it was never made."""
    return Organisation.objects.filter(is_demo=True).first()


def workspace_seed() -> Workspace:
    """The sample workspace, made where it is missing, whole or not at all."""
    with transaction.atomic():
        organisation = workspace_find()
        if organisation is None:
            user, organisation = owner_create(
                email=EMAIL, password=_password(), organisation_name=ORGANISATION, is_demo=True
            )
        else:
            user = _who_may_write(organisation)
        return Workspace(
            user=user,
            organisation=organisation,
            base_model=_base_model(),
            training=_dataset(user, organisation, "ledger desk, training", training_rows()),
            validation=_dataset(user, organisation, "ledger desk, validation", validation_rows()),
            tools=tuple(_tool(user, organisation, tool["function"]) for tool in definitions()),
            grader=_grader(user, organisation),
        )


def tools_follow_port(organisation: Organisation) -> None:
    """Point the tools at this run's port; one that people archived or changed is theirs."""
    for function in (tool["function"] for tool in definitions()):
        tool = _current(Tool, organisation, function["name"])
        if tool is not None and _is_ours(tool, function):
            _tool(_who_may_write(organisation), organisation, function)


def sign_in_password() -> str:
    """The password made for this data folder; empty where it does not sign in any more."""
    user, password = User.objects.filter(email=EMAIL).first(), _password()
    return password if user is not None and user.check_password(password) else ""


def demo_job_create(workspace: Workspace, *, seed: int, shuffle: bool = False) -> Job:
    """The demo job with that seed; `shuffle` trains on shuffled rewards, which teach nothing."""
    return job_create(
        acting_user=workspace.user,
        organisation=workspace.organisation,
        request=JobRequest(
            name=f"ledger desk, seed {seed}" + (", shuffled rewards" if shuffle else ""),
            base_model=workspace.base_model.pk,
            train_version=workspace.training.pk,
            validation_version=workspace.validation.pk,
            tool_versions=tuple(tool.pk for tool in workspace.tools),
            grader_version=workspace.grader.pk,
            hyperparameters=demo_hyperparameters(),
            seed=seed,
            shuffle_rewards=shuffle,
        ),
    )


def jobs_cancel_open(workspace: Workspace) -> list[str]:
    """Cancel what an interrupted run left open, so that the next job does not wait for it."""
    left = Job.objects.filter(organisation=workspace.organisation, status__in=OPEN)
    for job in left:
        job_cancel(acting_user=workspace.user, job=job)
    return [job.name for job in left]


def unfinished_jobs() -> list[str]:
    """Names of the jobs that were running or waiting when Hone was last stopped."""
    return list(Job.objects.filter(status__in=OPEN).values_list("name", flat=True))


def _password() -> str:
    """The demo's password, made once for this data folder."""
    file = settings.DATA_DIR / "demo-password"
    try:
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return str(file.read_text().strip())
    password = "-".join(secrets.token_hex(2) for _ in range(4))
    with os.fdopen(handle, "w") as opened:
        opened.write(password)
    return password


def _who_may_write(organisation: Organisation) -> User:
    user = User.objects.filter(email=EMAIL).first()
    if user is None or not may(user, organisation.id, "write"):
        raise UserError(
            f"{EMAIL} may change nothing in {organisation.name} any more. Make it a member there, "
            "or set HONE_DATA_DIR to a folder of its own.",
            code="demo_user",
        )
    return user


def _current(model: type[_Thing], organisation: Organisation, name: str) -> _Thing | None:
    """The thing of that name; an archived one is out of use, whatever it was."""
    return model._default_manager.filter(
        organisation=organisation, name=name, archived=False
    ).first()


def _base_model() -> BaseModel:
    found = BaseModel.objects.filter(name=MODEL).first()
    return found or base_model_add(name=MODEL, source=str(WEIGHTS))


def _dataset(
    user: User, organisation: Organisation, name: str, rows: Iterable[dict[str, Any]]
) -> DatasetVersion:
    found = _current(Dataset, organisation, name)
    if found is None:
        upload = ContentFile(b"".join(_lines(rows)), name=f"{name}.jsonl")
        found = dataset_create(
            acting_user=user, organisation=organisation, name=name, upload=upload
        ).dataset
    return found.versions.order_by("-number")[0]


def _lines(rows: Iterable[dict[str, Any]]) -> Iterator[bytes]:
    for row in rows:
        yield json.dumps(row).encode() + b"\n"


def _fields(function: dict[str, Any]) -> ToolFields:
    return ToolFields(
        description=function["description"],
        parameters=function["parameters"],
        url=f"http://127.0.0.1:{tool_port()}/{function['name']}",
        effects="none",
        idempotent=True,
        timeout_s=10.0,
        max_concurrency=64,
        rate_limit=HIGHEST_RATE,
    )


def _is_ours(tool: Tool, function: dict[str, Any]) -> bool:
    """Whether the newest version is as it was seeded, on whatever port."""
    latest, fields = latest_version(tool), asdict(_fields(function))
    known = all(
        getattr(latest, key) == fields[key]
        for key in fields.keys() - {"url", "headers", "rate_limit"}
    )
    address = rf"http://127\.0\.0\.1:\d+/{re.escape(function['name'])}"
    return known and not latest.header_names and re.fullmatch(address, latest.url) is not None


def _tool(user: User, organisation: Organisation, function: dict[str, Any]) -> ToolVersion:
    fields, tool = _fields(function), _current(Tool, organisation, function["name"])
    if tool is None:
        return tool_create(
            acting_user=user, organisation=organisation, name=function["name"], fields=fields
        )
    latest = latest_version(tool)
    if latest.url == fields.url:
        return latest
    return tool_version_add(acting_user=user, tool=tool, fields=fields)


def _grader(user: User, organisation: Organisation) -> GraderVersion:
    name = "ledger desk"
    grader = _current(Grader, organisation, name)
    if grader is None:
        grader = grader_create(
            acting_user=user, organisation=organisation, name=name, spec=grader_spec()
        )
    return grader.versions.order_by("-number")[0]
