"""JSON that a model reads is stored in the order in which it was given."""

from __future__ import annotations

import json

import pytest

from hone.accounts.models import Organisation
from hone.tools.models import Tool, ToolVersion

GIVEN = {
    "type": "object",
    "properties": {"zebra": {"type": "string", "description": "\u0000 and \ud800"}, "a": {}},
    "required": ["zebra"],
    "additionalProperties": False,
}


@pytest.mark.django_db
def test_keys_keep_their_order() -> None:
    organisation = Organisation.objects.create(name="Ledger")
    tool = Tool.objects.create(organisation=organisation, name="look_up")
    version = ToolVersion.objects.create(tool=tool, number=1, parameters=GIVEN, url="http://x")
    read = ToolVersion.objects.get(pk=version.pk).parameters
    assert json.dumps(read) == json.dumps(GIVEN)
