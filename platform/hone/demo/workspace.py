"""The sample workspace: an organisation with the ledger desk's data, tools, grader and model."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.files.base import ContentFile

from graders.models import Grader, GraderVersion
from graders.services.authoring import grader_create
from hone.accounts.models import Membership, Organisation, Role, User
from hone.accounts.services import owner_create
from hone.datasets.models import Dataset, DatasetVersion
from hone.datasets.services import dataset_create
from hone.demo.base_model import WEIGHTS
from hone.demo.world.settings import demo_hyperparameters
from hone.demo.world.tasks import grader_spec, training_rows, validation_rows
from hone.demo.world.tools import definitions
from hone.tools.models import Tool, ToolVersion
from hone.tools.services import ToolFields, tool_create, tool_version_add
from jobs.models import BaseModel, Job
from jobs.models.states import OPEN
from jobs.services.control import job_cancel
from jobs.services.create import job_create
from jobs.services.models_list import base_model_add
from jobs.services.request import JobRequest

EMAIL = "demo@hone.local"
ORGANISATION = "Ledger desk (demo)"
MODEL = "ledger-tiny"


@dataclass(frozen=True)
class Workspace:
    """Everything the demo job needs, and how to sign in."""

    user: User
    organisation: Organisation
    email: str
    password: str
    base_model: BaseModel
    training: DatasetVersion
    validation: DatasetVersion
    tools: tuple[ToolVersion, ...]
    grader: GraderVersion
    fresh: bool
    """The workspace was made just now."""


def tool_port() -> int:
    """The loopback port of the demo's tool server."""
    return int(os.environ.get("HONE_DEMO_PORT", "8765"))


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


def workspace_seed() -> Workspace:
    """The sample workspace, made where it is missing; what people changed in it stays."""
    password = _password(settings.DATA_DIR / "demo-password")
    organisation = Organisation.objects.filter(is_demo=True).first()
    fresh = organisation is None
    if organisation is None:
        user, organisation = owner_create(
            email=EMAIL, password=password, organisation_name=ORGANISATION, is_demo=True
        )
    else:
        user = Membership.objects.get(
            organisation=organisation, user__email=EMAIL, role=Role.OWNER
        ).user
    return Workspace(
        user=user,
        organisation=organisation,
        email=EMAIL,
        password=password,
        base_model=_base_model(),
        training=_dataset(user, organisation, "ledger desk, training", training_rows()),
        validation=_dataset(user, organisation, "ledger desk, validation", validation_rows()),
        tools=tuple(_tool(user, organisation, tool["function"]) for tool in definitions()),
        grader=_grader(user, organisation),
        fresh=fresh,
    )


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


def _password(file: Path) -> str:
    """The demo's password, made once for this data folder."""
    try:
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return file.read_text().strip()
    password = "-".join(secrets.token_hex(2) for _ in range(4))
    with os.fdopen(handle, "w") as opened:
        opened.write(password)
    return password


def _base_model() -> BaseModel:
    found = BaseModel.objects.filter(name=MODEL).first()
    return found or base_model_add(name=MODEL, source=str(WEIGHTS))


def _dataset(
    user: User, organisation: Organisation, name: str, rows: Iterable[dict[str, Any]]
) -> DatasetVersion:
    found = Dataset.objects.filter(organisation=organisation, name=name).first()
    if found is None:
        upload = ContentFile(b"".join(_lines(rows)), name=f"{name}.jsonl")
        found = dataset_create(
            acting_user=user, organisation=organisation, name=name, upload=upload
        ).dataset
    return found.versions.order_by("-number")[0]


def _lines(rows: Iterable[dict[str, Any]]) -> Iterator[bytes]:
    for row in rows:
        yield json.dumps(row).encode() + b"\n"


def _tool(user: User, organisation: Organisation, function: dict[str, Any]) -> ToolVersion:
    fields = ToolFields(
        description=function["description"],
        parameters=function["parameters"],
        url=f"http://127.0.0.1:{tool_port()}/{function['name']}",
        effects="none",
        idempotent=True,
        timeout_s=10.0,
        max_concurrency=64,
    )
    tool = Tool.objects.filter(organisation=organisation, name=function["name"]).first()
    if tool is None:
        return tool_create(
            acting_user=user, organisation=organisation, name=function["name"], fields=fields
        )
    latest = tool.versions.order_by("-number")[0]
    if latest.url == fields.url:
        return latest
    return tool_version_add(acting_user=user, tool=tool, fields=fields)


def _grader(user: User, organisation: Organisation) -> GraderVersion:
    name = "ledger desk"
    grader = Grader.objects.filter(organisation=organisation, name=name).first()
    if grader is None:
        grader = grader_create(
            acting_user=user, organisation=organisation, name=name, spec=grader_spec()
        )
    return grader.versions.order_by("-number")[0]
