"""MCP servers here: registered, asked, compared, and their tools imported and called."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.core import serializers
from django.test import Client
from django.utils import timezone
from pytest_django.fixtures import Settings

from hone.accounts.models import AuditEntry, Organisation, User
from hone.core.errors import UserError
from hone.tools.models import McpServer, Secret, Tool, ToolVersion
from hone.tools.selectors import tool_headers
from hone.tools.services import (
    ToolFields,
    mcp_offers,
    mcp_server_archive,
    mcp_server_ask,
    mcp_server_create,
    mcp_servers_due,
    mcp_tools_import,
    secret_rotate,
    secret_withdraw,
    tool_call,
    tool_create,
    tool_version_add,
)
from hone.tools.services import mcp as module
from jobs.engine.spec import ToolSpec
from jobs.selectors import inputs
from tests.mcp_server import Running, running

CANARY = "Bearer canary-4711"


@pytest.fixture
def remote(settings: Settings) -> Iterator[Running]:
    with running() as server:
        settings.OUTBOUND_ALLOW = (server.place,)
        yield server


@pytest.fixture
def server(bob: User, organisation: Organisation, remote: Running) -> McpServer:
    made = mcp_server_create(
        acting_user=bob,
        organisation=organisation,
        name="shop",
        url=remote.url,
        headers={"Authorization": CANARY},
    )
    return mcp_server_ask(acting_user=bob, server=made)


def states(server: McpServer) -> dict[str, str]:
    return {offer.name: offer.state for offer in mcp_offers(server)}


def imported(bob: User, server: McpServer, *names: str) -> list[ToolVersion]:
    return mcp_tools_import(acting_user=bob, server=server, names=names)


def test_the_list_is_stored_with_its_hash(server: McpServer, remote: Running) -> None:
    assert [tool["name"] for tool in server.listed] == ["add", "fail", "echo", "count"]
    assert len(server.list_sha256) == 64
    assert server.list_error == ""
    assert {each["authorization"] for each in remote.seen.headers} == {CANARY}
    assert set(states(server).values()) == {"new"}


def test_a_tool_that_is_imported_is_called_with_the_servers_secret(
    bob: User, server: McpServer
) -> None:
    (version,) = imported(bob, server, "add")
    assert (version.tool.name, version.number, version.kind) == ("add", 1, "mcp")
    assert version.parameters["required"] == ["a", "b"]
    assert tool_headers(version) == {"Authorization": CANARY}
    tried = tool_call(acting_user=bob, version=version, arguments='{"a": 2, "b": 3}', item={})
    assert (tried.outcome.status, tried.outcome.output) == ("ok", "5")
    assert tried.request == {
        "method": "tools/call",
        "params": {"name": "add", "arguments": '{"a": 2, "b": 3}'},
    }
    assert AuditEntry.objects.filter(action="mcp.import").count() == 1


def test_the_engine_is_told_how_to_call_it(bob: User, server: McpServer) -> None:
    (version,) = imported(bob, server, "add")
    spec = ToolSpec(**inputs.tool_spec(version))
    assert (spec.kind, spec.remote_name, spec.url) == ("mcp", "add", server.url)
    assert spec.rate_limit == 50.0


def test_a_list_that_changes_is_shown_and_imported_only_by_a_person(
    bob: User, server: McpServer, remote: Running
) -> None:
    imported(bob, server, "add", "fail")
    before = server.list_sha256

    def add(a: int, b: int, c: int = 0) -> str:
        return str(a + b + c)

    remote.server.remove_tool("add")
    remote.server.remove_tool("fail")
    remote.server.add_tool(add, name="add", description="Adds three numbers")
    server = mcp_server_ask(acting_user=bob, server=server)
    assert server.list_sha256 != before
    assert states(server) == {"echo": "new", "count": "new", "add": "changed", "fail": "gone"}
    assert ToolVersion.objects.count() == 2
    (second,) = imported(bob, server, "add")
    assert (second.number, second.description) == (2, "Adds three numbers")
    assert states(server)["add"] == "same"
    assert imported(bob, server, "add") == []
    with pytest.raises(UserError, match="lists no tool 'fail'"):
        imported(bob, server, "fail")


def test_a_server_that_is_down_keeps_its_list_and_says_why(
    bob: User, server: McpServer, settings: Settings
) -> None:
    settings.OUTBOUND_ALLOW = ()
    after = mcp_server_ask(acting_user=bob, server=server)
    assert after.list_error.startswith("This address may not be called from here.")
    assert after.listed == server.listed
    assert after.list_sha256 == server.list_sha256


def test_a_new_value_of_its_secret_is_that_of_all_its_tools(
    bob: User, server: McpServer, remote: Running
) -> None:
    (version,) = imported(bob, server, "echo")
    second = secret_rotate(
        acting_user=bob, owner=server, name="Authorization", value="Bearer canary-new"
    )
    tried = tool_call(acting_user=bob, version=version, arguments="{}", item={})
    assert remote.seen.headers[-1]["authorization"] == "Bearer canary-new"
    assert "canary" not in json.dumps([tried.outcome.output, tried.headers])
    with pytest.raises(UserError, match="those of its MCP server"):
        secret_rotate(acting_user=bob, owner=version.tool, name="Authorization", value="x")
    secret_withdraw(acting_user=bob, owner=server, secret_id=second.pk)
    assert tool_headers(version) == {"Authorization": CANARY}
    with pytest.raises(UserError, match="no other value"):
        secret_withdraw(acting_user=bob, owner=server, secret_id=Secret.objects.get(number=1).pk)
    stored = serializers.serialize("json", [*Secret.objects.all(), *McpServer.objects.all()])
    assert "canary" not in stored


def test_names_that_are_taken_or_odd_are_refused_or_put_right(
    bob: User, organisation: Organisation, server: McpServer, remote: Running
) -> None:
    tool_create(
        acting_user=bob,
        organisation=organisation,
        name="add",
        fields=ToolFields(url="https://tools.example.org/x"),
    )
    with pytest.raises(UserError, match="A tool is called 'add' already"):
        imported(bob, server, "count", "add")
    assert not Tool.objects.filter(name="count").exists()

    def plain() -> str:
        return ""

    remote.server.add_tool(plain, name="files.read", description="Reads")
    remote.server.add_tool(plain, name="long", description="x" * 5000)
    server = mcp_server_ask(acting_user=bob, server=server)
    (version,) = imported(bob, server, "files.read")
    assert (version.tool.name, version.remote_name) == ("files_read", "files.read")
    assert states(server)["long"] == "refused"
    with pytest.raises(UserError, match="description has 5000 characters"):
        imported(bob, server, "long")
    with pytest.raises(UserError, match="Import it again from there"):
        tool_version_add(
            acting_user=bob, tool=version.tool, fields=ToolFields(url="https://x.example.org/")
        )


def test_how_it_is_called_is_said_here_and_kept_by_the_next_import(
    bob: User, server: McpServer, remote: Running
) -> None:
    (version,) = imported(bob, server, "add")
    member = Client()
    member.force_login(bob)
    address = f"/tools/{version.tool_id}/edit/"
    page = member.get(address).content.decode()
    assert "are said by its MCP server" in page
    assert 'name="url"' not in page
    form = {"effects": "none", "timeout_s": "5", "max_concurrency": "3", "rate_limit": "7"}
    assert member.post(address, form).status_code == 302
    second = ToolVersion.objects.get(tool=version.tool, number=2)
    assert (second.kind, second.remote_name, second.url) == ("mcp", "add", server.url)
    assert (second.timeout_s, second.max_concurrency, second.rate_limit) == (5.0, 3, 7.0)
    assert (second.effects, second.idempotent) == ("none", False)
    assert tool_headers(second) == {"Authorization": CANARY}

    def add(a: int) -> str:
        return str(a)

    remote.server.remove_tool("add")
    remote.server.add_tool(add, name="add", description="Adds one number")
    (third,) = imported(bob, mcp_server_ask(acting_user=bob, server=server), "add")
    assert (third.number, third.effects, third.rate_limit) == (3, "none", 7.0)


def test_the_schedule_asks_each_hour_until_it_is_archived(
    bob: User, server: McpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    rung: list[object] = []
    monkeypatch.setattr(module, "ring", lambda task, argument: rung.append(argument))
    assert mcp_servers_due() == 0
    McpServer.objects.update(asked_at=timezone.now() - timedelta(minutes=61))
    assert [mcp_servers_due(), mcp_servers_due()] == [1, 0]
    assert rung == [server.pk]
    mcp_server_archive(acting_user=bob, server=server)
    McpServer.objects.update(asked_at=timezone.now() - timedelta(minutes=61))
    assert mcp_servers_due() == 0


@pytest.mark.parametrize(
    ("url", "headers", "said"),
    [
        ("stdio:///bin/sh", {}, "must be http or https"),
        ("npx some-server", {}, "holds a space"),
        ("https://mcp.example.org/", {"Host": "x"}, "set by the platform"),
        ("https://mcp.example.org/", {"X-Key": ""}, "has no value"),
    ],
)
def test_only_a_url_is_taken(
    bob: User, organisation: Organisation, url: str, headers: dict[str, str], said: str
) -> None:
    with pytest.raises(UserError, match=said):
        mcp_server_create(
            acting_user=bob, organisation=organisation, name="s", url=url, headers=headers
        )
    assert not McpServer.objects.exists()


def test_the_pages_register_ask_and_import(
    bob: User, organisation: Organisation, remote: Running
) -> None:
    member = Client()
    member.force_login(bob)
    form = {"name": "shop", "url": remote.url, "headers": f"Authorization: {CANARY}"}
    page = member.post("/mcp/new/", form, follow=True).content.decode()
    assert "shop lists 4 tools." in page
    assert "not imported" in page
    server = McpServer.objects.get()
    chosen = {"names": ["add", "echo"], "effects": "reads", "idempotent": "on"}
    page = member.post(f"/mcp/{server.pk}/import/", chosen, follow=True).content.decode()
    assert "add v1, echo v1: imported." in page
    page = member.post(f"/mcp/{server.pk}/import/", {"effects": "reads"}).content.decode()
    assert "Choose at least one tool of the list." in page
    tool = Tool.objects.get(name="add")
    page = member.get(f"/tools/{tool.pk}/").content.decode()
    assert "MCP: " in page
    assert "canary" not in page
    page = member.post(f"/mcp/{server.pk}/ask/", follow=True).content.decode()
    assert "shop lists 4 tools." in page
