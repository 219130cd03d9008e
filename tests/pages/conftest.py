"""One of everything in Acme, and browsers for the cast."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.test import Client

from graders.forms import STARTS
from graders.models import Grader
from graders.services import grader_create
from hone.accounts.models import Organisation, User
from hone.datasets.models import Dataset
from hone.datasets.services import dataset_create
from hone.tools.models import Tool
from hone.tools.services import ToolFields, tool_create

HOSTILE = "</script><script>alert(1)</script>\u202e"


def jsonl(rows: int, **keys: Any) -> bytes:
    row = {"messages": [{"role": "user", "content": "Where is it?"}], **keys}
    return b"".join(json.dumps({**row, "n": n}).encode() + b"\n" for n in range(rows))


@dataclass(frozen=True)
class Things:
    dataset: Dataset
    tool: Tool
    grader: Grader


@pytest.fixture
def make(alice: User, organisation: Organisation) -> Callable[[str], Things]:
    def made(name: str) -> Things:
        upload = ContentFile(jsonl(12, note=f"{name} {HOSTILE}"), name="a.jsonl")
        version = dataset_create(
            acting_user=alice, organisation=organisation, name=name, upload=upload
        )
        fields = ToolFields(url="https://tools.example.org/x", headers={"Authorization": "hush"})
        tool = tool_create(acting_user=alice, organisation=organisation, name=name, fields=fields)
        grader = grader_create(
            acting_user=alice, organisation=organisation, name=name, spec=STARTS["string_check"]
        )
        return Things(version.dataset, tool.tool, grader)

    return made


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
