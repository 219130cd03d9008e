"""One of everything in Acme, and browsers for the cast."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.test import Client

from graders.models import Fixture, Grader, Judge
from graders.services import Wanted, fixture_create, grader_create, typed_sample
from graders.services.judges import JudgeFields, judge_create
from graders.starts import STARTS
from hone.accounts.models import Organisation, User
from hone.core.net.recorded import Entry
from hone.datasets.models import Dataset, Intake
from hone.datasets.services import dataset_create
from hone.datasets.services.intakes import intake_of_file
from hone.tools.models import McpServer, Recording, Tool
from hone.tools.services import ToolFields, mcp_server_create, recording_add, tool_create

HOSTILE = "</script><script>alert(1)</script>\u202e"


def jsonl(rows: int, **keys: Any) -> bytes:
    row = {"messages": [{"role": "user", "content": "Where is it?"}], **keys}
    return b"".join(json.dumps({**row, "n": n}).encode() + b"\n" for n in range(rows))


@dataclass(frozen=True)
class Things:
    dataset: Dataset
    intake: Intake
    tool: Tool
    grader: Grader
    fixture: Fixture
    judge: Judge
    server: McpServer
    recording: Recording


def things_make(user: User, organisation: Organisation, name: str) -> Things:
    upload = ContentFile(jsonl(12, note=f"{name} {HOSTILE}"), name="a.jsonl")
    version = dataset_create(acting_user=user, organisation=organisation, name=name, upload=upload)
    file = ContentFile(b"{}", name=f"{name}.jsonl")
    intake = intake_of_file(
        acting_user=user, organisation=organisation, file=file, name=f"{name} refused"
    )
    fields = ToolFields(url="https://tools.example.org/x", headers={"Authorization": "hush"})
    tool = tool_create(acting_user=user, organisation=organisation, name=name, fields=fields)
    grader = grader_create(
        acting_user=user, organisation=organisation, name=name, spec=STARTS["string_check"]
    )
    fixture = fixture_create(
        acting_user=user,
        grader=grader,
        wanted=Wanted(f"{name} {HOSTILE}"[:40], 1, 1),
        sample=typed_sample(f"Rome {HOSTILE}"),
        item={"answer": HOSTILE},
    )
    judge = judge_create(
        acting_user=user,
        organisation=organisation,
        name=name,
        fields=JudgeFields(base_url="https://judges.example.org/v1", models=("small",)),
        key="hush",
    )
    server = mcp_server_create(
        acting_user=user,
        organisation=organisation,
        name=name,
        url="https://tools.example.org/mcp",
        headers={"Authorization": "hush-hush"},
    )
    said = Entry(tool=name, arguments="{}", row="", status="ok", output=HOSTILE)
    recording = recording_add(
        acting_user=user,
        organisation=organisation,
        name=name,
        source="A test",
        entries=[said],
    )
    return Things(version.dataset, intake, tool.tool, grader, fixture, judge, server, recording)


@pytest.fixture
def make(alice: User, organisation: Organisation) -> Callable[[str], Things]:
    return partial(things_make, alice, organisation)


@pytest.fixture
def things(make: Callable[[str], Things]) -> Things:
    return make("first")


@pytest.fixture
def signed_in() -> Callable[[User], Client]:
    def client(user: User) -> Client:
        browser = Client()
        browser.force_login(user)
        return browser

    return client
