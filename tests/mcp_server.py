"""A real MCP server on loopback, made with the official SDK, whose tools may change under way."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from mcp.server.mcpserver import Context, MCPServer
from starlette.types import ASGIApp, Receive, Scope, Send


@dataclass
class Seen:
    """What the server saw: header values of each request, and `_meta` of each call."""

    headers: list[dict[str, str]] = field(default_factory=list)
    meta: list[dict[str, Any]] = field(default_factory=list)
    opened: int = 0


class _Watched:
    def __init__(self, app: ASGIApp, seen: Seen) -> None:
        self._app, self._seen = app, seen

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            pairs = {key.decode(): value.decode() for key, value in scope["headers"]}
            self._seen.headers.append({**pairs, ":method": scope["method"]})
        await self._app(scope, receive, send)


@dataclass
class Running:
    """Where it answers, and the means to change its tools."""

    url: str
    seen: Seen
    server: MCPServer

    @property
    def place(self) -> str:
        return self.url.removeprefix("http://").partition("/")[0]


def make(seen: Seen) -> MCPServer:
    server = MCPServer("shop")
    counts: dict[str, int] = {}

    @server.tool(description="Adds two numbers")
    def add(a: int, b: int) -> str:
        return str(a + b)

    @server.tool(description="Always fails")
    def fail(why: str) -> str:
        raise ValueError(f"no: {why}")

    @server.tool(description="Says what it was sent")
    def echo(ctx: Context) -> str:
        request = ctx.request_context.request
        headers = dict(request.headers) if request is not None else {}
        seen.meta.append(dict(ctx.request_context.meta or {}))
        return str(headers)

    @server.tool(description="Counts the calls of a trace")
    def count(ctx: Context) -> str:
        trace = str(dict(ctx.request_context.meta or {}).get("hone/trace_id"))
        counts[trace] = counts.get(trace, 0) + 1
        return str(counts[trace])

    return server


@contextmanager
def running(**options: Any) -> Iterator[Running]:
    """The server in a thread. `options`: of the SDK's Streamable HTTP app."""
    seen = Seen()
    server = make(seen)
    app = _Watched(server.streamable_http_app(**options), seen)
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, log_level="critical", lifespan="on")
    web = uvicorn.Server(config)
    thread = threading.Thread(target=web.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    until = time.monotonic() + 10
    while not web.started and time.monotonic() < until:
        time.sleep(0.01)
    try:
        yield Running(f"http://127.0.0.1:{listener.getsockname()[1]}/mcp", seen, server)
    finally:
        web.should_exit = True
        thread.join(10)
        listener.close()
