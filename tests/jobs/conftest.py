"""Jobs on a fake engine: quick, and killed as often as a test likes."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage

from graders.selectors import latest_version
from graders.services.authoring import grader_create
from hone.accounts.models import Organisation, User
from hone.datasets.models import Dataset, DatasetVersion
from hone.datasets.services import dataset_create
from hone.tools.models import ToolVersion
from hone.tools.services import ToolFields, tool_create
from jobs.models import BaseModel, Job, Run
from tests.database_url import database_url
from tests.jobs.processes import Programs
from tests.jobs.storage import Elsewhere

FAKE = Path(__file__).parent / "fake_engine.py"

EXACT = {
    "type": "string_check",
    "name": "exact",
    "input": "{{sample.output_text}}",
    "reference": "{{item.answer}}",
    "operation": "eq",
}

Fake = Callable[..., None]
MakeJob = Callable[..., Job]


@pytest.fixture
def fake_engine(monkeypatch: pytest.MonkeyPatch, settings: Any, tmp_path: Path) -> Fake:
    """The fake engine in the place of the real one, short periods, files in `tmp_path`."""
    settings.MEDIA_ROOT = tmp_path / "files"
    root = Path(__file__).parents[2]
    monkeypatch.setenv("PYTHONPATH", f"{root / 'platform'}:{root}")
    monkeypatch.setenv("HONE_ENGINE_COMMAND", f"{sys.executable} {FAKE}")
    monkeypatch.setenv("HONE_LEASE_S", "1.2")
    monkeypatch.setenv("HONE_RENEW_S", "0.1")
    monkeypatch.setenv("HONE_RETRY_S", "0")
    monkeypatch.setenv("HONE_GRACE_S", "1")

    def behave(**behaviour: object) -> None:
        monkeypatch.setenv("HONE_FAKE", json.dumps(behaviour))

    behave()
    return behave


@pytest.fixture
def elsewhere(settings: Any) -> Iterator[Elsewhere]:
    """Files are stored elsewhere than in the folder of the runs."""
    settings.STORAGES = {
        **settings.STORAGES,
        "default": {"BACKEND": "tests.jobs.storage.Elsewhere"},
    }
    yield default_storage
    Elsewhere.refused = 0


def task(number: int, **more: Any) -> dict[str, Any]:
    message = {"role": "user", "content": f"What is {number} + 1?"}
    return {"messages": [message], "answer": str(number + 1), **more}


def make_dataset(
    organisation: Organisation, user: User, rows: list[dict[str, Any]] | None = None
) -> DatasetVersion:
    rows = rows if rows is not None else [task(number) for number in range(10)]
    content = "".join(json.dumps(row) + "\n" for row in rows).encode()
    return dataset_create(
        acting_user=user,
        organisation=organisation,
        name=f"tasks {Dataset.objects.count()}",
        upload=ContentFile(content, name="tasks.jsonl"),
    )


def make_tool(organisation: Organisation, user: User, name: str) -> ToolVersion:
    return tool_create(
        acting_user=user,
        organisation=organisation,
        name=name,
        fields=ToolFields(url="https://tools.example.org/x"),
    )


def frozen_spec(steps: int) -> dict[str, Any]:
    data = {"name": "tasks v1", "sha256": "0" * 64, "split_rows": None}
    return {
        "requested": {},
        "settings": [],
        "train": data,
        "validation": data,
        "tools": [],
        "grader": {"name": "exact v1"},
        "response_format": None,
        "budgets": {},
        "engine": {"steps": steps, "groups_per_step": 2, "group_size": 2},
    }


@pytest.fixture
def base_model(db: None, tmp_path: Path) -> BaseModel:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "chat_template.jinja").write_text("{{ messages[0].content }}")
    return BaseModel.objects.create(
        name="tiny", source=str(folder), folder=str(folder), parameters=1000, context_length=4096
    )


@pytest.fixture
def make_job(organisation: Organisation, alice: User, base_model: BaseModel) -> MakeJob:
    """A queued job on ten rows, with its run."""

    def make(steps: int = 3, **fields: Any) -> Job:
        version = make_dataset(organisation, alice)
        grader = grader_create(
            acting_user=alice,
            organisation=organisation,
            name=f"exact {Job.objects.count()}",
            spec=EXACT,
        )
        job = Job.objects.create(
            organisation=organisation,
            name="refunds",
            spec=frozen_spec(steps),
            base_model=base_model,
            train_version=version,
            validation_version=version,
            grader_version=latest_version(grader),
            total_steps=steps,
            created_by=alice,
            **fields,
        )
        Run.objects.create(job=job, status=job.status, total_steps=steps)
        return job

    return make


@pytest.fixture
def process_environment(settings: Any) -> dict[str, str]:
    """For processes of their own that look at the test's database, files and broker."""
    root = Path(__file__).parents[2]
    return {
        "DATABASE_URL": database_url(),
        "DJANGO_SETTINGS_MODULE": "hone.settings",
        "PYTHONPATH": f"{root / 'platform'}:{root}",
    }


@pytest.fixture
def programs(process_environment: dict[str, str], tmp_path: Path) -> Iterator[Programs]:
    """Whatever they started is killed at the end."""
    programs = Programs(tmp_path, process_environment)
    yield programs
    programs.kill_all()
