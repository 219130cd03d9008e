"""Tools: versions that never change, headers that nobody reads again, calls from the page."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from django.core import serializers
from django.core.exceptions import PermissionDenied
from django.db import connection
from django.http import Http404
from pytest_django.fixtures import Settings

from hone.accounts.models import AuditEntry, Organisation, User
from hone.core.errors import UserError
from hone.core.net.errors import BLOCKED
from hone.core.secrets import SecretUnreadable
from hone.tools.models import Tool, ToolVersion
from hone.tools.selectors import access_tool, masked_headers, tool_headers, tool_list
from hone.tools.services import (
    TRIAL_S,
    ToolFields,
    TriedCall,
    tool_archive,
    tool_call,
    tool_create,
    tool_version_add,
)

CANARY = "Bearer canary-4711"
FIELDS = ToolFields(
    url="https://tools.example.org/search",
    description="Find orders",
    parameters={"type": "object", "properties": {"q": {"type": "string"}}},
    headers={"Authorization": CANARY, "X-Team": "blue-canary"},
)


@pytest.fixture
def version(bob: User, organisation: Organisation) -> ToolVersion:
    return tool_create(acting_user=bob, organisation=organisation, name="search", fields=FIELDS)


def _everything_stored() -> str:
    """All rows of all tables, as text."""
    with connection.cursor() as cursor:
        found = []
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f'SELECT * FROM "{table}"')
            found.append(repr(cursor.fetchall()))
    return "\n".join(found)


def test_a_tool_begins_with_version_one(version: ToolVersion, bob: User) -> None:
    stored = ToolVersion.objects.get()
    assert (stored.number, stored.tool.name, stored.url) == (1, "search", FIELDS.url)
    assert (stored.effects, stored.timeout_s, stored.max_concurrency) == ("reads", 60.0, 32)
    assert stored.parameters == FIELDS.parameters
    assert tool_headers(stored) == FIELDS.headers


def test_header_values_are_stored_nowhere_in_plain_text(version: ToolVersion, bob: User) -> None:
    tool_version_add(acting_user=bob, tool=version.tool, fields=FIELDS)
    stored = _everything_stored() + serializers.serialize("json", ToolVersion.objects.all())
    assert "Authorization" in stored
    assert "canary" not in stored
    assert version.headers_sealed.startswith("v1:")
    assert AuditEntry.objects.filter(action="tool.version").latest("id").detail == {
        "name": "search",
        "number": 2,
        "url": FIELDS.url,
        "headers": ["Authorization", "X-Team"],
    }


def test_people_see_masked_headers(version: ToolVersion) -> None:
    assert masked_headers(version) == {"Authorization": "**********", "X-Team": "**********"}


def test_sealed_headers_copied_to_another_version_do_not_open(
    version: ToolVersion, bob: User
) -> None:
    other = tool_version_add(
        acting_user=bob, tool=version.tool, fields=replace(FIELDS, headers={"X": "y"})
    )
    ToolVersion.objects.filter(pk=other.pk).update(headers_sealed=version.headers_sealed)
    with pytest.raises(SecretUnreadable):
        tool_headers(ToolVersion.objects.get(pk=other.pk))


@pytest.mark.parametrize("blank", ["", "**********"])
def test_a_blank_or_masked_value_keeps_the_earlier_one(
    version: ToolVersion, bob: User, blank: str
) -> None:
    fields = replace(FIELDS, headers={"Authorization": blank, "X-New": "1"})
    second = tool_version_add(acting_user=bob, tool=version.tool, fields=fields)
    assert second.number == 2
    assert tool_headers(second) == {"Authorization": CANARY, "X-New": "1"}
    assert tool_headers(ToolVersion.objects.get(number=1)) == FIELDS.headers


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://bobs.example.org/search", "https://bobs.example.org"),
        ("http://tools.example.org/search", "http://tools.example.org"),
        ("https://tools.example.org:8443/search", "https://tools.example.org:8443"),
    ],
)
@pytest.mark.parametrize("blank", ["", "**********"])
def test_a_masked_value_does_not_move_to_another_server(
    version: ToolVersion, bob: User, url: str, origin: str, blank: str
) -> None:
    fields = replace(FIELDS, url=url, headers={"Authorization": blank})
    with pytest.raises(UserError) as caught:
        tool_version_add(acting_user=bob, tool=version.tool, fields=fields)
    assert caught.value.message == (
        "The value of Authorization was given for https://tools.example.org, and the address is "
        f"now at {origin}. Type the value again, or delete the line."
    )
    assert (caught.value.code, caught.value.field) == ("header_moved", "headers")
    assert ToolVersion.objects.count() == 1
    typed = replace(fields, headers={"Authorization": "Bearer new-one"})
    second = tool_version_add(acting_user=bob, tool=version.tool, fields=typed)
    assert tool_headers(second) == {"Authorization": "Bearer new-one"}


@pytest.mark.parametrize("url", ["https://TOOLS.example.org:443/other?x=1", " " + FIELDS.url])
def test_a_masked_value_is_kept_at_another_path_of_the_same_server(
    version: ToolVersion, bob: User, url: str
) -> None:
    fields = replace(FIELDS, url=url, headers={"Authorization": "**********"})
    second = tool_version_add(acting_user=bob, tool=version.tool, fields=fields)
    assert tool_headers(second) == {"Authorization": CANARY}


def test_a_header_without_any_value_is_refused(
    version: ToolVersion, bob: User, organisation: Organisation
) -> None:
    fields = replace(FIELDS, headers={"X-Key": ""})
    for attempt in (
        lambda: tool_version_add(acting_user=bob, tool=version.tool, fields=fields),
        lambda: tool_create(acting_user=bob, organisation=organisation, name="b", fields=fields),
    ):
        with pytest.raises(UserError) as caught:
            attempt()
        assert caught.value.message == (
            "The header X-Key has no value. Give it one, or take it out."
        )
        assert (caught.value.code, caught.value.field) == ("header_value", "headers")
    assert (Tool.objects.count(), ToolVersion.objects.count()) == (1, 1)


def test_a_version_is_never_changed(version: ToolVersion) -> None:
    with pytest.raises(ValueError, match="never changed"):
        version.save()


def test_a_name_is_used_once_until_it_is_archived(
    version: ToolVersion, bob: User, organisation: Organisation
) -> None:
    def again() -> ToolVersion:
        return tool_create(
            acting_user=bob, organisation=organisation, name=" search ", fields=FIELDS
        )

    with pytest.raises(UserError) as caught:
        again()
    assert caught.value.message == (
        "A tool is called 'search' already. Change that one, or use another name."
    )
    assert (caught.value.code, caught.value.field) == ("name_taken", "name")
    tool_archive(acting_user=bob, tool=version.tool)
    tool_archive(acting_user=bob, tool=version.tool)
    assert AuditEntry.objects.filter(action="tool.archive").count() == 1
    assert list(tool_list(organisation)) == []
    assert again().tool == tool_list(organisation).get()
    with pytest.raises(UserError, match="search is archived"):
        tool_version_add(acting_user=bob, tool=version.tool, fields=FIELDS)


NESTED: dict[str, Any] = {"type": "object"}
for _ in range(2000):
    NESTED = {"type": "object", "properties": {"a": NESTED}}


@pytest.mark.parametrize(
    ("change", "field", "message"),
    [
        ({"url": ""}, "url", "The URL's scheme is missing; it must be http or https."),
        ({"url": "ftp://a.org"}, "url", "The URL's scheme is ftp; it must be http or https."),
        (
            {"url": "https://me:pw@a.org"},
            "url",
            "The URL holds a user name or password. Put credentials in a header.",
        ),
        ({"url": "https://"}, "url", "The URL names no host."),
        (
            {"url": "https://a.org/" + "x" * 2000},
            "url",
            "The URL has 2014 characters; at most 2000 fit.",
        ),
        ({"url": "https://a.org/\x00"}, "url", "url holds a NUL character. Remove it."),
        (
            {"headers": {"Host": "x"}},
            "headers",
            "The header Host is set by the platform. Remove it.",
        ),
        (
            {"headers": {"A B": "x"}},
            "headers",
            "'A B' is no header name. Use letters, digits and hyphens.",
        ),
        (
            {"headers": {"X-A": "a\r\nHost: b"}},
            "headers",
            "The value of X-A holds a control character. Remove it.",
        ),
        (
            {"headers": {"X-A": "1", "x-a": "2"}},
            "headers",
            "The header x-a is given twice. Remove one.",
        ),
        (
            {"parameters": {"type": "array"}},
            "parameters",
            "This is no JSON schema of arguments: its type is 'array', and arguments are an "
            "object.",
        ),
        (
            {"parameters": {"type": "object", "required": "q"}},
            "parameters",
            "This is no JSON schema of arguments: 'q' is not of type 'array'.",
        ),
        (
            {"parameters": {"minimum": float("inf")}},
            "parameters",
            "It holds a number that is not finite or too large.",
        ),
        (
            {"parameters": {"title": "a\x00"}},
            "parameters",
            "parameters holds a NUL character. Remove it.",
        ),
        (
            {"parameters": {"title": "\ud800"}},
            "parameters",
            "parameters holds a lone surrogate at character 0. Remove it.",
        ),
        (
            {"parameters": {"title": "x" * 64_000}},
            "parameters",
            "This is no JSON schema of arguments: it has 64013 characters, and at most 64000 fit.",
        ),
        (
            {"parameters": NESTED},
            "parameters",
            "It is nested more than 64 levels deep. Make it flatter.",
        ),
        (
            {"description": "x" * 4001},
            "description",
            "The description has 4001 characters; at most 4000 fit.",
        ),
        ({"effects": "boom"}, "effects", "'boom' is none of none, reads, writes."),
        (
            {"timeout_s": 0},
            "timeout_s",
            "The time limit is 0 s; use more than 0 and at most 600.",
        ),
        (
            {"timeout_s": 601},
            "timeout_s",
            "The time limit is 601 s; use more than 0 and at most 600.",
        ),
        (
            {"timeout_s": float("nan")},
            "timeout_s",
            "The time limit is nan s; use more than 0 and at most 600.",
        ),
        ({"max_concurrency": 0}, "max_concurrency", "0 calls at once; use 1 to 256."),
        ({"max_concurrency": 257}, "max_concurrency", "257 calls at once; use 1 to 256."),
    ],
)
def test_a_field_that_cannot_be_is_refused_by_name(
    bob: User, organisation: Organisation, change: dict[str, Any], field: str, message: str
) -> None:
    with pytest.raises(UserError) as caught:
        tool_create(
            acting_user=bob,
            organisation=organisation,
            name="search",
            fields=replace(FIELDS, **change),
        )
    assert (caught.value.field, caught.value.message) == (field, message)
    assert not Tool.objects.exists()


@pytest.mark.parametrize("name", ["", "a b", "x" * 65, "é", "a/b"])
def test_a_tool_has_a_name_that_models_can_call(
    bob: User, organisation: Organisation, name: str
) -> None:
    with pytest.raises(UserError) as caught:
        tool_create(acting_user=bob, organisation=organisation, name=name, fields=FIELDS)
    assert caught.value.message == (
        f"{name!r} is no tool name. Use 1 to 64 letters, digits, `_` or `-`."
    )
    assert (caught.value.code, caught.value.field) == ("tool_name", "name")


def test_a_schema_may_speak_of_nul_without_holding_one(
    bob: User, organisation: Organisation
) -> None:
    fields = replace(FIELDS, parameters={"title": "a\\u0000 is a backslash"})
    made = tool_create(acting_user=bob, organisation=organisation, name="a", fields=fields)
    assert ToolVersion.objects.get(pk=made.pk).parameters == fields.parameters


def test_a_viewer_sees_and_may_not_change_or_call(version: ToolVersion, dora: User) -> None:
    tool = version.tool
    assert access_tool(dora, tool.pk) == tool
    for refused in (
        lambda: tool_create(
            acting_user=dora, organisation=tool.organisation, name="d", fields=FIELDS
        ),
        lambda: tool_version_add(acting_user=dora, tool=tool, fields=FIELDS),
        lambda: tool_archive(acting_user=dora, tool=tool),
        lambda: tool_call(acting_user=dora, version=version, arguments="{}", item={}),
    ):
        with pytest.raises(PermissionDenied):
            refused()


def test_for_others_a_tool_is_not_there(version: ToolVersion, charlie: User) -> None:
    tool = version.tool
    for refused in (
        lambda: access_tool(charlie, tool.pk),
        lambda: access_tool(charlie, "tool-none"),
        lambda: tool_create(
            acting_user=charlie, organisation=tool.organisation, name="d", fields=FIELDS
        ),
        lambda: tool_version_add(acting_user=charlie, tool=tool, fields=FIELDS),
        lambda: tool_archive(acting_user=charlie, tool=tool),
        lambda: tool_call(acting_user=charlie, version=version, arguments="{}", item={}),
    ):
        with pytest.raises(Http404, match=r"^There is nothing here that you can see\.$"):
            refused()


class ToolServer(ThreadingHTTPServer):
    """Answers each path in its own way, and keeps what it was sent."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), ToolHandler)
        self.received: list[tuple[dict[str, str], dict[str, Any]]] = []

    @property
    def place(self) -> str:
        return f"127.0.0.1:{self.server_port}"


class ToolHandler(BaseHTTPRequestHandler):
    server: ToolServer

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.received.append((dict(self.headers.items()), body))
        if self.path == "/slow":
            time.sleep(1)
        status = {"/missing": 404, "/broken": 503}.get(self.path, 200)
        output = f"{self.headers['Authorization']} found {body['arguments']}"
        reply = json.dumps({"call_id": body["call_id"], "output": output}).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(reply)))
        self.end_headers()
        self.wfile.write(reply)

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet: the test reads what was received."""


@pytest.fixture
def server(settings: Settings) -> Iterator[ToolServer]:
    made = ToolServer()
    settings.OUTBOUND_ALLOW = (made.place,)
    thread = threading.Thread(target=made.serve_forever, args=(0.01,))
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


def _try(
    bob: User, organisation: Organisation, url: str, *, timeout_s: float = 5.0, arguments: str
) -> TriedCall:
    fields = replace(FIELDS, url=url, timeout_s=timeout_s)
    made = tool_create(acting_user=bob, organisation=organisation, name="search", fields=fields)
    return tool_call(acting_user=bob, version=made, arguments=arguments, item={"order": 7})


def test_a_call_from_the_page_keeps_the_contract(
    bob: User, organisation: Organisation, server: ToolServer
) -> None:
    tried = _try(bob, organisation, f"http://{server.place}/ok", arguments='{"q": "x"}')
    assert (tried.outcome.status, tried.outcome.http_status) == ("ok", 200)
    assert tried.outcome.attempts == 1
    assert 0 < tried.outcome.seconds < 5
    ((headers, body),) = server.received
    assert headers["Authorization"] == CANARY
    assert body == tried.request
    assert (body["type"], body["name"], body["arguments"]) == (
        "function_call",
        "search",
        '{"q": "x"}',
    )
    assert body["item"] == {"order": 7}
    assert body["trace_id"].startswith("trace_")
    assert len(body["trace_id"]) == 38


def test_what_a_call_shows_holds_no_secret_even_where_the_tool_sends_it_back(
    bob: User, organisation: Organisation, server: ToolServer
) -> None:
    tried = _try(bob, organisation, f"http://{server.place}/ok", arguments='{"q": "x"}')
    assert tried.outcome.output == '********** found {"q": "x"}'
    assert tried.headers == {"Authorization": "**********", "X-Team": "**********"}
    assert "canary" not in repr(tried)


def test_a_4xx_is_what_the_model_would_see(
    bob: User, organisation: Organisation, server: ToolServer
) -> None:
    tried = _try(bob, organisation, f"http://{server.place}/missing", arguments="{}")
    assert (tried.outcome.status, tried.outcome.http_status) == ("tool_error", 404)
    assert tried.outcome.output == "********** found {}"


def test_a_5xx_is_a_fault_and_the_page_does_not_try_again(
    bob: User, organisation: Organisation, server: ToolServer
) -> None:
    tried = _try(bob, organisation, f"http://{server.place}/broken", arguments="{}")
    assert (tried.outcome.status, tried.outcome.output) == ("fault", None)
    assert tried.outcome.error == "search answered HTTP 503."
    assert '"output": "********** found {}"' in tried.outcome.reply
    assert len(server.received) == 1


def test_a_call_from_the_page_ends_after_30_seconds_at_most(
    bob: User, organisation: Organisation, server: ToolServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert TRIAL_S == 30.0
    monkeypatch.setattr("hone.tools.services.calling.TRIAL_S", 0.2)
    tried = _try(bob, organisation, f"http://{server.place}/slow", timeout_s=600, arguments="{}")
    assert tried.outcome.error == "search: No complete answer within 0.2 s."


@pytest.mark.parametrize("item", [{"x": "\ud800"}, {"x": float("inf")}])
def test_a_row_that_cannot_be_sent_is_refused(
    version: ToolVersion, bob: User, item: dict[str, Any]
) -> None:
    with pytest.raises(UserError) as caught:
        tool_call(acting_user=bob, version=version, arguments="{}", item=item)
    assert caught.value.field == "item"


def test_a_slow_tool_is_a_fault_at_its_time_limit(
    bob: User, organisation: Organisation, server: ToolServer
) -> None:
    tried = _try(bob, organisation, f"http://{server.place}/slow", timeout_s=0.2, arguments="{}")
    assert (tried.outcome.status, tried.outcome.error) == (
        "fault",
        "search: No complete answer within 0.2 s.",
    )
    assert tried.outcome.seconds < 0.9


def test_a_server_that_is_not_there_is_a_fault(
    bob: User, organisation: Organisation, settings: Settings
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{taken.getsockname()[1]}"
        settings.OUTBOUND_ALLOW = (place,)
        tried = _try(bob, organisation, f"http://{place}/", arguments="{}")
    assert (tried.outcome.status, tried.outcome.error) == (
        "fault",
        "search: No connection could be made.",
    )


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]"])
def test_a_blocked_address_is_one_sentence_and_no_connection(
    bob: User, organisation: Organisation, settings: Settings, host: str
) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.setblocking(False)
        port = listener.getsockname()[1]
        settings.OUTBOUND_ALLOW = (f"127.0.0.1:{port % 60000 + 1025}",)
        tried = _try(bob, organisation, f"http://{host}:{port}/", arguments="{}")
        assert (tried.outcome.status, tried.outcome.error) == ("fault", BLOCKED)
        with pytest.raises(BlockingIOError):
            listener.accept()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            "{",
            "Line 1, column 2: Expecting property name enclosed in double quotes. "
            "Write a JSON object.",
        ),
        ("[1]", "This is no JSON object. Write one in braces: {…}."),
        ('{"a": "\x00"}', "arguments holds a NUL character. Remove it."),
    ],
)
def test_arguments_that_no_model_could_send_are_refused(
    bob: User, organisation: Organisation, server: ToolServer, arguments: str, message: str
) -> None:
    with pytest.raises(UserError) as caught:
        _try(bob, organisation, f"http://{server.place}/ok", arguments=arguments)
    assert (caught.value.field, caught.value.message) == ("arguments", message)
    assert server.received == []


def test_arguments_without_end_are_refused(
    bob: User, organisation: Organisation, server: ToolServer
) -> None:
    for arguments in ("[" * 100_000, '{"a":' * 100_000, "9" * 5000):
        with pytest.raises(UserError) as caught:
            _try(bob, organisation, f"http://{server.place}/ok", arguments=arguments)
        assert caught.value.field == "arguments"
        Tool.objects.all().delete()
    assert server.received == []
