"""MCP tools in a rollout: real servers by the SDK, and servers that misbehave on the wire."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from contextlib import aclosing
from typing import Any

import pytest

from hone.core.net.client import AsyncGuardedClient
from hone.core.net.errors import OutboundError
from hone.core.net.mcp_calls import ListedTool, McpServer, list_hash
from hone.core.net.policy import OutboundPolicy
from jobs.engine.rollout.tools import ToolExecutor
from jobs.engine.spec import ToolSpec
from jobs.engine.types import ToolCall
from tests.mcp_server import running
from tests.nasty import BOMB, Behaviour, Conn, rpc, serving

SECRET = {"Authorization": "Bearer canary-4711"}
CLOSED = OutboundPolicy()
LIMIT_S = 1.0
SCHEMA = {"type": "object", "properties": {"q": {"type": "string"}}}


def tool(url: str, name: str, **fields: Any) -> ToolSpec:
    fields = {"effects": "writes", "idempotent": False, "timeout_s": LIMIT_S, **fields}
    return ToolSpec(name=name, url=url, kind="mcp", remote_name=name, **fields)


async def turns(
    policy: OutboundPolicy, tools: list[ToolSpec], made: list[tuple[str, str, str]]
) -> list[ToolCall]:
    """One turn a call: its trace, its tool and its arguments."""
    calls = []
    async with (
        aclosing(AsyncGuardedClient(policy)) as client,
        aclosing(ToolExecutor(tools, {each.name: SECRET for each in tools}, client)) as executor,
    ):
        for place, (trace, name, arguments) in enumerate(made):
            call = ToolCall(id=f"call_{place}", name=name, arguments=arguments)
            await executor.execute(
                [call], trace_id=trace, item={"gold": "x"}, offered=[name], keys=[f"key{place}"]
            )
            calls.append(call)
    return calls


@pytest.mark.parametrize("options", [{}, {"stateless_http": True}, {"json_response": True}])
def test_an_mcp_tool_is_called_as_any_other(options: dict[str, Any]) -> None:
    with running(**options) as server:
        tools = [tool(server.url, name, timeout_s=10.0) for name in ("add", "fail", "echo")]
        add, bad, failed, echoed, none = asyncio.run(
            turns(
                OutboundPolicy.parse([server.place]),
                tools,
                [
                    ("t1", "add", '{"a": 1, "b": 2}'),
                    ("t1", "add", '{"a": "x"}'),
                    ("t1", "fail", '{"why": "rain"}'),
                    ("t2", "echo", "{}"),
                    ("t2", "add", "[1]"),
                ],
            )
        )
    assert (add.status, add.output, add.attempts) == ("ok", "3", 1)
    assert bad.status == failed.status == none.status == "tool_error"
    assert none.attempts == 0
    assert echoed.status == "ok"
    assert "canary" not in (echoed.output or "")
    assert "**********" in (echoed.output or "")
    seen = server.seen
    assert seen.headers
    assert all(each["authorization"] == SECRET["Authorization"] for each in seen.headers)
    assert seen.meta[0]["hone/trace_id"] == "t2"
    assert seen.meta[0]["hone/idempotency_key"] == "key3"
    assert "gold" not in json.dumps(seen.meta)
    assert {each[":method"] for each in seen.headers} <= {"POST", "DELETE"}


def test_a_server_that_may_not_be_called_is_not() -> None:
    with running() as server:
        (found,) = asyncio.run(turns(CLOSED, [tool(server.url, "add")], [("t", "add", "{}")]))
    assert found.status == "fault"
    assert found.error.startswith("This address may not be called from here.")
    assert server.seen.headers == []


def test_the_list_has_a_hash_that_changes_with_it() -> None:
    async def listed(url: str, place: str) -> list[Any]:
        async with (
            aclosing(AsyncGuardedClient(OutboundPolicy.parse([place]))) as client,
            aclosing(McpServer(client, url, SECRET)) as server,
        ):
            return await server.list_tools(timeout_s=10)

    with running() as server:
        before = asyncio.run(listed(server.url, server.place))
        again = asyncio.run(listed(server.url, server.place))

        @server.server.tool(description="New")
        def fresh() -> str:
            return ""

        after = asyncio.run(listed(server.url, server.place))
    assert [each.name for each in before] == ["add", "fail", "echo", "count"]
    assert list_hash(before) == list_hash(list(reversed(again)))
    assert list_hash(before) != list_hash(after)


class Old:
    """A server of the time before discovery, which keeps sessions, written out by hand."""

    def __init__(self, act: Callable[[Conn, dict[str, Any]], None]) -> None:
        self._act = act
        self.methods: list[str] = []
        self.sessions: list[str] = []

    def __call__(self, conn: Conn) -> None:
        while conn.read():
            if conn.head.startswith(b"DELETE"):
                self.methods.append("DELETE")
                conn.answer(b"")
                continue
            message: Any = rpc(conn)
            method = str(message.get("method"))
            self.methods.append(method)
            if "id" not in message:
                conn.answer(b"", "202 Accepted")
            elif method == "initialize":
                self._begin(conn, message)
            elif method == "tools/call" or method == "tools/list":
                self.sessions.append(_session(conn.head))
                self._act(conn, message)
            else:
                reply(conn, message, error={"code": -32601, "message": "no such method"})

    def _begin(self, conn: Conn, message: dict[str, Any]) -> None:
        number = self.methods.count("initialize")
        result = {
            "protocolVersion": "2025-06-18",
            "capabilities": {"tools": {"listChanged": True}},
            "serverInfo": {"name": "old", "version": "1"},
        }
        reply(conn, message, result=result, extra=f"Mcp-Session-Id: s{number}\r\n")


def _session(head: bytes) -> str:
    for line in head.decode().splitlines():
        if line.lower().startswith("mcp-session-id:"):
            return line.split(":", 1)[1].strip()
    return ""


def text(words: str, **more: Any) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": words}], **more}


def reply(
    conn: Conn, message: Mapping[str, Any], *, status: str = "200 OK", extra: str = "", **parts: Any
) -> None:
    told = json.dumps({"jsonrpc": "2.0", "id": message["id"], **parts}).encode()
    conn.answer(told, status, f"Content-Type: application/json\r\n{extra}")


def events(conn: Conn) -> None:
    conn.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")


def event(message: dict[str, Any]) -> bytes:
    return b"event: message\ndata: " + json.dumps(message).encode() + b"\n\n"


NOTE = {
    "jsonrpc": "2.0",
    "method": "notifications/message",
    "params": {"level": "info", "data": "x" * 4000},
}


def flood(conn: Conn, message: dict[str, Any]) -> None:
    events(conn)
    while not conn.stop.is_set():
        conn.send(event(NOTE))


def never_ends(conn: Conn, message: dict[str, Any]) -> None:
    events(conn)
    conn.drip(b": still here\n\n" * 40)


def asks_back(conn: Conn, message: dict[str, Any]) -> None:
    """Asks the client to sample, as a server may; it is refused, and the answer still comes."""
    events(conn)
    conn.send(
        event(
            {
                "jsonrpc": "2.0",
                "id": "ask",
                "method": "sampling/createMessage",
                "params": {"messages": [], "maxTokens": 1},
            }
        )
    )
    conn.send(event({"jsonrpc": "2.0", "id": message["id"], "result": text("found")}))


ENDS: dict[str, tuple[Callable[[Conn, dict[str, Any]], None], str]] = {
    "an answer": (lambda conn, m: reply(conn, m, result=text("found")), "ok"),
    "an answer after a question of its own": (asks_back, "ok"),
    "an error of the tool": (
        lambda conn, m: reply(conn, m, result=text("no such order", isError=True)),
        "tool_error",
    ),
    "bad arguments": (
        lambda conn, m: reply(conn, m, error={"code": -32602, "message": "q is missing"}),
        "tool_error",
    ),
    "bad arguments with a 400": (
        lambda conn, m: reply(
            conn, m, status="400 Bad", error={"code": -32602, "message": "q is missing"}
        ),
        "tool_error",
    ),
    "a text of 3 MB": (lambda conn, m: reply(conn, m, result=text("x" * 3_000_000)), "tool_error"),
    "an event of 3 MB": (
        lambda conn, m: (
            events(conn),
            conn.send(event({"jsonrpc": "2.0", "id": m["id"], "result": text("x" * 3_000_000)})),
        )[1],
        "tool_error",
    ),
    "an internal error": (
        lambda conn, m: reply(conn, m, error={"code": -32603, "message": "oops"}),
        "fault",
    ),
    "the id of another call": (
        lambda conn, m: reply(conn, {"id": "other"}, result=text("x")),
        "fault",
    ),
    "a flood of notifications": (flood, "fault"),
    "events without end": (never_ends, "fault"),
    "events that end without an answer": (lambda conn, m: (events(conn), conn.reset())[1], "fault"),
    "a reset": (lambda conn, m: conn.reset(), "fault"),
    "silence": (lambda conn, m: conn.hang(), "fault"),
    "HTML": (
        lambda conn, m: conn.answer(b"<html>", extra="Content-Type: text/html\r\n"),
        "fault",
    ),
    "JSON that is none": (
        lambda conn, m: conn.answer(b"{", extra="Content-Type: application/json\r\n"),
        "fault",
    ),
    "JSON 100 000 levels deep": (
        lambda conn, m: conn.answer(b"[" * 100_000, extra="Content-Type: application/json\r\n"),
        "fault",
    ),
    "a result that is none": (lambda conn, m: reply(conn, m, result=[1]), "fault"),
    "a bomb": (
        lambda conn, m: conn.answer(
            BOMB, extra="Content-Type: application/json\r\nContent-Encoding: gzip\r\n"
        ),
        "fault",
    ),
    "a 202 to a question": (lambda conn, m: conn.answer(b"", "202 Accepted"), "fault"),
    "a 401": (lambda conn, m: conn.answer(b"no", "401 No"), "fault"),
    "a 503": (lambda conn, m: conn.answer(b"no", "503 Down"), "fault"),
    "a redirect": (
        lambda conn, m: conn.answer(b"", "307 Go", "Location: /elsewhere\r\n"),
        "fault",
    ),
}


def one(behave: Behaviour, times: int = 1) -> list[ToolCall]:
    with serving(behave) as server:
        url = f"http://{server.place}/mcp"
        made = [("t1", "search", "{}")] * times
        policy = OutboundPolicy.parse([server.place])
        return asyncio.run(turns(policy, [tool(url, "search")], made))


@pytest.mark.parametrize("name", ENDS)
def test_each_behaviour_has_its_label_and_its_end(name: str) -> None:
    act, wanted = ENDS[name]
    server = Old(act)
    (found,) = one(server)
    assert found.status == wanted, found
    assert found.seconds < LIMIT_S + 2
    assert found.attempts == 1
    assert server.methods.count("tools/call") == 1
    if wanted == "ok":
        assert found.output == "found"
    if wanted == "tool_error":
        assert found.output
        assert len(found.output) < 300
    if wanted == "fault":
        assert found.output is None
        assert found.error


def test_the_calls_of_a_rollout_share_a_session_that_is_ended() -> None:
    server = Old(lambda conn, m: reply(conn, m, result=text("found")))
    assert [each.status for each in one(server, times=3)] == ["ok"] * 3
    assert server.methods.count("initialize") == 1
    assert server.sessions == ["s1"] * 3
    assert server.methods[-1] == "DELETE"


def test_a_session_that_the_server_has_forgotten_is_begun_anew() -> None:
    calls: list[str] = []

    def forgetful(conn: Conn, message: dict[str, Any]) -> None:
        calls.append(_session(conn.head))
        if len(calls) == 2:
            conn.answer(b"", "404 Not Found")
        else:
            reply(conn, message, result=text("found"))

    assert [each.status for each in one(Old(forgetful), times=2)] == ["ok", "ok"]
    assert calls == ["s1", "s1", "s2"]


def test_a_list_with_a_reference_bomb_is_read_and_nothing_is_resolved() -> None:
    levels = {f"l{n}": {"allOf": [{"$ref": f"#/$defs/l{n + 1}"}] * 10} for n in range(30)}
    schema = {**SCHEMA, "$defs": levels, "$ref": "http://127.0.0.1:9/never"}
    listing = {"tools": [{"name": "bomb", "description": "d", "inputSchema": schema}]}

    async def listed(url: str, place: str) -> list[Any]:
        async with (
            aclosing(AsyncGuardedClient(OutboundPolicy.parse([place]))) as client,
            aclosing(McpServer(client, url, {})) as server,
        ):
            return await server.list_tools(timeout_s=5)

    with serving(Old(lambda conn, m: reply(conn, m, result=listing))) as server:
        (found,) = asyncio.run(listed(f"http://{server.place}/", server.place))
        assert found.parameters == schema
    pages = {**listing, "nextCursor": "more"}
    with (
        serving(Old(lambda conn, m: reply(conn, m, result=pages))) as server,
        pytest.raises(OutboundError, match="more than 20 pages"),
    ):
        asyncio.run(listed(f"http://{server.place}/", server.place))


def test_tools_that_differ_only_by_their_schemas_have_a_hash_and_are_refused() -> None:
    twins = [ListedTool("twin", "d", {"type": "object"}), ListedTool("twin", "d", SCHEMA)]
    assert list_hash(twins) == list_hash(twins[::-1])
    listing = {
        "tools": [{"name": t.name, "description": "d", "inputSchema": t.parameters} for t in twins]
    }

    async def listed(url: str, place: str) -> list[ListedTool]:
        async with (
            aclosing(AsyncGuardedClient(OutboundPolicy.parse([place]))) as client,
            aclosing(McpServer(client, url, {})) as server,
        ):
            return await server.list_tools(timeout_s=5)

    with (
        serving(Old(lambda conn, m: reply(conn, m, result=listing))) as server,
        pytest.raises(OutboundError, match="The server lists 2 tools called 'twin'"),
    ):
        asyncio.run(listed(f"http://{server.place}/", server.place))
