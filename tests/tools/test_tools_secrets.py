"""Secrets that change: the new value beside the old one, for the same server, and the way back."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from django.core import serializers
from django.test import Client

from hone.accounts.models import AuditEntry, Organisation, User
from hone.core.errors import UserError
from hone.core.secrets import SecretUnreadable
from hone.tools.models import Secret, Tool, ToolVersion
from hone.tools.selectors import tool_headers
from hone.tools.services import (
    ToolFields,
    secret_rotate,
    secret_withdraw,
    tool_create,
    tool_version_add,
)

OLD, NEW, NEWEST = "Bearer canary-old", "Bearer canary-new", "Bearer canary-newest"
FIELDS = ToolFields(
    url="https://tools.example.org/x", headers={"Authorization": OLD, "X-Team": "b"}
)


@pytest.fixture
def tool(bob: User, organisation: Organisation) -> Tool:
    return tool_create(acting_user=bob, organisation=organisation, name="t", fields=FIELDS).tool


def sent(tool: Tool, number: int = 1) -> dict[str, str]:
    return tool_headers(ToolVersion.objects.get(tool=tool, number=number))


def rotate(bob: User, tool: Tool, value: str) -> Secret:
    return secret_rotate(acting_user=bob, owner=tool, name="Authorization", value=value)


def test_the_newest_value_is_sent_by_the_version_that_jobs_hold(bob: User, tool: Tool) -> None:
    assert rotate(bob, tool, NEW).number == 1
    assert rotate(bob, tool, NEWEST).number == 2
    assert sent(tool) == {"Authorization": NEWEST, "X-Team": "b"}


def test_withdrawing_a_value_sends_the_one_before_it(bob: User, tool: Tool) -> None:
    first, second = rotate(bob, tool, NEW), rotate(bob, tool, NEWEST)
    secret_withdraw(acting_user=bob, owner=tool, secret_id=second.pk)
    assert sent(tool)["Authorization"] == NEW
    secret_withdraw(acting_user=bob, owner=tool, secret_id=first.pk)
    assert sent(tool)["Authorization"] == OLD
    with pytest.raises(UserError, match="withdrawn already"):
        secret_withdraw(acting_user=bob, owner=tool, secret_id=first.pk)


def test_a_value_never_goes_to_another_server(bob: User, tool: Tool) -> None:
    rotate(bob, tool, NEW)
    moved = replace(FIELDS, url="https://other.example.org/x", headers={"Authorization": OLD})
    tool_version_add(acting_user=bob, tool=tool, fields=moved)
    Secret.objects.update(created_at=ToolVersion.objects.latest("created_at").created_at)
    assert sent(tool, 2) == {"Authorization": OLD}
    with_kept = replace(moved, url="https://other.example.org/y", headers={"Authorization": ""})
    tool_version_add(acting_user=bob, tool=tool, fields=with_kept)
    assert sent(tool, 3) == {"Authorization": OLD}


def test_a_next_version_keeps_the_value_that_is_sent_and_may_replace_it(
    bob: User, tool: Tool
) -> None:
    rotate(bob, tool, NEW)
    kept = replace(FIELDS, headers={"Authorization": ""})
    tool_version_add(acting_user=bob, tool=tool, fields=kept)
    assert sent(tool, 2) == {"Authorization": NEW}
    typed = replace(FIELDS, headers={"Authorization": "Bearer canary-typed"})
    tool_version_add(acting_user=bob, tool=tool, fields=typed)
    assert sent(tool, 3) == {"Authorization": "Bearer canary-typed"}
    rotate(bob, tool, NEWEST)
    assert sent(tool, 3) == {"Authorization": NEWEST}


def test_the_audit_row_names_the_header_and_no_value(bob: User, tool: Tool) -> None:
    secret = rotate(bob, tool, NEW)
    entry = AuditEntry.objects.get(action="tool.secret_rotate")
    assert entry.detail == {"name": "t", "header": "Authorization", "value": 1}
    assert "canary" not in serializers.serialize("json", [secret, entry])


def test_a_value_that_is_copied_to_another_row_does_not_open(bob: User, tool: Tool) -> None:
    first, second = rotate(bob, tool, NEW), rotate(bob, tool, NEWEST)
    Secret.objects.filter(pk=second.pk).update(sealed=first.sealed)
    with pytest.raises(SecretUnreadable):
        sent(tool)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("X-Other", "v", "has no secret header X-Other"),
        ("Authorization", "", "has no value"),
        ("Authorization", "a\nb", "control character"),
    ],
)
def test_what_cannot_be_sent_is_refused(
    bob: User, tool: Tool, name: str, value: str, said: str
) -> None:
    with pytest.raises(UserError, match=said):
        secret_rotate(acting_user=bob, owner=tool, name=name, value=value)
    assert not Secret.objects.exists()


def test_the_page_takes_a_value_and_shows_none(bob: User, tool: Tool) -> None:
    member = Client()
    member.force_login(bob)
    address = f"/tools/{tool.pk}/secrets/"
    assert member.post(address, {"header": "Authorization", "value": NEW}).status_code == 302
    page = member.get(address).content.decode()
    assert "number 1" in page
    assert "canary" not in page
    refused = member.post(address, {"header": "Authorization", "value": "a\x07canary"})
    assert "control character" in refused.content.decode()
    assert "canary" not in refused.content.decode()
    secret = Secret.objects.get()
    member.post(f"{address}{secret.pk}/withdraw/")
    assert sent(tool)["Authorization"] == OLD


def states(client: Client, tool: Tool) -> list[str]:
    """What the page says of each value, from the top."""
    page = client.get(f"/tools/{tool.pk}/secrets/").content.decode()
    return re.findall(r"</span>(Sent now|Not sent, kept|Withdrawn)</span>", page)


def test_the_page_says_which_value_is_sent(bob: User, tool: Tool) -> None:
    client = Client()
    client.force_login(bob)
    assert states(client, tool) == ["Sent now", "Sent now"]
    rotate(bob, tool, NEW)
    second = rotate(bob, tool, NEWEST)
    kept = ["Sent now", "Not sent, kept", "Not sent, kept", "Sent now"]
    assert states(client, tool) == kept
    secret_withdraw(acting_user=bob, owner=tool, secret_id=second.pk)
    assert states(client, tool) == ["Withdrawn", "Sent now", "Not sent, kept", "Sent now"]
