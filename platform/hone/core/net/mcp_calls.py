"""Tools of an MCP server, over Streamable HTTP by the official SDK. Servers are never started.

A server may keep state in its session, so each rollout has one of its own, which begins with its
first call and ends when it was not used for a while. A call comes to the same three ends as one
over plain HTTP: an answer, an error that the model sees, or a fault.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections import Counter, OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx2
import msgspec
from mcp import Client
from mcp.client.session import ClientSession
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INVALID_PARAMS,
    PARSE_ERROR,
    CallToolRequest,
    CallToolRequestParams,
    CallToolResult,
    EmbeddedResource,
    Implementation,
    PaginatedRequestParams,
    TextContent,
    TextResourceContents,
)
from pydantic import ValidationError

from hone.core.net.attempts import EndpointGuard, Sleep, finished, tried
from hone.core.net.calls import (
    LONGEST_TIMEOUT_S,
    CallLimits,
    CallOutcome,
    FunctionCall,
    Try,
    too_large,
    without_secrets,
)
from hone.core.net.client import MIB, AsyncGuardedClient
from hone.core.net.errors import (
    OutboundBlocked,
    OutboundError,
    OutboundFailed,
    OutboundInvalid,
    OutboundTimeout,
    OutboundTooLarge,
)
from hone.core.net.headers import validate_headers
from hone.core.net.mcp_transport import EXCHANGE, Exchange, GuardedTransport

IDLE_S = 600.0
MOST_SESSIONS = 256
MOST_TOOLS = 200
MOST_PAGES = 20
GONE = 404
_WHO = Implementation(name="hone", version="1")
_UNGUARDED = EndpointGuard()


@dataclass(frozen=True)
class ListedTool:
    """A tool as its server describes it: untrusted text."""

    name: str
    description: str
    parameters: dict[str, Any]


def list_hash(tools: list[ListedTool]) -> str:
    """Equal for lists that say the same, in whatever order."""
    told = sorted(
        json.dumps([tool.name, tool.description, tool.parameters], sort_keys=True) for tool in tools
    )
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


class _Session:
    """One session with the server. A task of its own holds it open, as the SDK wants it."""

    def __init__(self, http: httpx2.AsyncClient, url: str) -> None:
        self._done = asyncio.Event()
        self._opened: asyncio.Future[ClientSession] = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._hold(http, url))
        self.used_at = time.monotonic()

    @property
    def is_alive(self) -> bool:
        return not self._task.done()

    async def opened(self) -> ClientSession:
        """The session, once the two sides have agreed; raises what kept them from it."""
        either: set[asyncio.Future[Any]] = {self._opened, self._task}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not self._opened.done():
            raise self._task.exception() or ConnectionError("the session ended")
        self.used_at = time.monotonic()
        return self._opened.result()

    async def aclose(self) -> None:
        self._done.set()
        if not self._opened.done():
            self._task.cancel()
        await asyncio.wait({self._task})
        if not self._task.cancelled():
            self._task.exception()

    async def _hold(self, http: httpx2.AsyncClient, url: str) -> None:
        transport = streamable_http_client(url, http_client=http, max_sse_event_size=None)
        async with Client(transport, cache=None, client_info=_WHO) as client:
            self._opened.set_result(client.session)
            await self._done.wait()


class McpServer:
    """One server as one caller sees it. Belongs to the running event loop."""

    def __init__(
        self,
        client: AsyncGuardedClient,
        url: str,
        headers: Mapping[str, str],
    ) -> None:
        self._url = url
        self._headers = dict(headers)
        self._http = httpx2.AsyncClient(
            transport=GuardedTransport(client, url),
            headers=self._headers,
            trust_env=False,
            timeout=None,
        )
        self._sessions: OrderedDict[str, _Session] = OrderedDict()

    async def aclose(self) -> None:
        """End all sessions."""
        sessions, self._sessions = list(self._sessions.values()), OrderedDict()
        await asyncio.gather(*(session.aclose() for session in sessions))
        await self._http.aclose()

    async def list_tools(self, *, timeout_s: float) -> list[ListedTool]:
        """All tools of the server; raises an `OutboundError` that says what went wrong."""
        exchange = Exchange(timeout_s)
        EXCHANGE.set(exchange)
        try:
            validate_headers(self._headers)
            async with asyncio.timeout(timeout_s):
                found = await _listed(await self._session("").opened())
                return [self._masked(tool) for tool in found]
        except OutboundError:
            raise
        except TimeoutError as error:
            raise OutboundTimeout(f"No list of tools within {timeout_s:g} s.") from error
        except Exception as error:  # noqa: BLE001 - the SDK raises groups of whatever went wrong
            if exchange.error is not None:
                raise exchange.error from error
            raise OutboundFailed(
                without_secrets(f"The server gave no list of tools: {_words(error)}", self._headers)
            ) from error

    def _masked(self, tool: ListedTool) -> ListedTool:
        """A server may put into its list what it was sent."""
        told = json.dumps([tool.name, tool.description, tool.parameters])
        return ListedTool(*json.loads(without_secrets(told, self._headers)))

    async def call(
        self,
        call: FunctionCall,
        remote_name: str,
        *,
        limits: CallLimits,
        idempotency_key: str,
        guard: EndpointGuard = _UNGUARDED,
        sleep: Sleep = asyncio.sleep,
    ) -> CallOutcome:
        """Call a tool until it answers or the attempts are used up; never raises for its faults."""
        started = time.perf_counter()
        request = _request(call, remote_name, idempotency_key, self._headers)
        if isinstance(request, Try):
            return finished(request, self._headers, attempts=0, started=started)
        self._close_idle()
        return await tried(
            lambda: self._attempt(request, call, min(limits.timeout_s, LONGEST_TIMEOUT_S)),
            name=call.name,
            size=len(call.arguments.encode("utf-8", "replace")),
            headers=self._headers,
            limits=limits,
            guard=guard,
            sleep=sleep,
        )

    async def _attempt(self, request: CallToolRequest, call: FunctionCall, timeout_s: float) -> Try:
        exchange = Exchange(timeout_s)
        EXCHANGE.set(exchange)
        try:
            async with asyncio.timeout(timeout_s):
                return _judged(await self._answer(request, call.trace_id, exchange), exchange, call)
        except TimeoutError:
            text = f"{call.name}: No complete answer within {timeout_s:g} s."
            return Try("fault", received=exchange.received, error=text, retry=True)
        except MCPError as error:
            return _refused(error, exchange, call)
        except Exception as error:  # noqa: BLE001 - the SDK raises groups of whatever went wrong
            return _lost(error, exchange, call)

    async def _answer(
        self, request: CallToolRequest, trace_id: str, exchange: Exchange
    ) -> CallToolResult:
        """A session that the server has forgotten is begun anew, once: it never saw the call."""
        known = trace_id in self._sessions
        try:
            return await self._sent(request, trace_id)
        except MCPError:
            if not known or exchange.status != GONE:
                raise
        await self._forget(trace_id)
        exchange.status = None
        return await self._sent(request, trace_id)

    async def _sent(self, request: CallToolRequest, trace_id: str) -> CallToolResult:
        session = self._session(trace_id)
        try:
            opened = await session.opened()
        except BaseException:
            # Half an agreement is of no use to the next attempt.
            await self._forget(trace_id)
            raise
        return await opened.send_request(request, CallToolResult)

    def _session(self, trace_id: str) -> _Session:
        session = self._sessions.get(trace_id)
        if session is None or not session.is_alive:
            session = self._sessions[trace_id] = _Session(self._http, self._url)
        self._sessions.move_to_end(trace_id)
        return session

    async def _forget(self, trace_id: str) -> None:
        if (session := self._sessions.pop(trace_id, None)) is not None:
            await session.aclose()

    def _close_idle(self) -> None:
        """The longest unused come first."""
        latest = time.monotonic() - IDLE_S
        while self._sessions:
            trace_id, session = next(iter(self._sessions.items()))
            if session.used_at > latest and len(self._sessions) < MOST_SESSIONS:
                break
            del self._sessions[trace_id]
            _CLOSING.add(closing := asyncio.ensure_future(session.aclose()))
            closing.add_done_callback(_CLOSING.discard)


_CLOSING: set[asyncio.Future[None]] = set()
"""Keeps what is on its way out alive until it is out."""


async def _listed(session: ClientSession) -> list[ListedTool]:
    found: list[ListedTool] = []
    cursor: str | None = None
    for _ in range(MOST_PAGES):
        page = await session.list_tools(params=PaginatedRequestParams(cursor=cursor))
        found += [
            ListedTool(tool.name, tool.description or "", tool.input_schema) for tool in page.tools
        ]
        cursor = page.next_cursor
        if len(found) > MOST_TOOLS:
            raise OutboundFailed(f"The server lists more than {MOST_TOOLS} tools.", sent=True)
        if cursor is None:
            return _each_named_once(found)
    raise OutboundFailed(f"The server's list of tools has more than {MOST_PAGES} pages.", sent=True)


def _each_named_once(tools: list[ListedTool]) -> list[ListedTool]:
    """A call says only the name, so of two tools with one name nobody knows which is meant."""
    for name, times in Counter(tool.name for tool in tools).items():
        if times > 1:
            raise OutboundFailed(
                f"The server lists {times} tools called {name[:80]!r}. Each needs its own name.",
                sent=True,
            )
    return tools


def _request(
    call: FunctionCall, remote_name: str, key: str, headers: Mapping[str, str]
) -> CallToolRequest | Try:
    try:
        validate_headers(headers)
    except OutboundInvalid as error:
        return Try("fault", error=error.message, sent=False)
    try:
        arguments = msgspec.json.decode(call.arguments or "{}", type=dict[str, Any])
    except (msgspec.MsgspecError, RecursionError, UnicodeError) as error:
        text = f"the arguments are no JSON object ({error})"
        return Try("tool_error", f"Error: {text}.", error=f"{call.name}: {text}.", sent=False)
    if len(call.arguments.encode("utf-8", "replace")) > MIB:
        return too_large(f"The request is larger than the {MIB} bytes that tools take.")
    meta = {"hone/trace_id": call.trace_id, "hone/idempotency_key": key}
    params = CallToolRequestParams.model_validate(
        {"name": remote_name, "arguments": arguments, "_meta": meta}
    )
    return CallToolRequest(params=params)


def _judged(result: CallToolResult, exchange: Exchange, call: FunctionCall) -> Try:
    text = _text(result)
    if len(text.encode("utf-8", "replace")) > MIB:
        return too_large(f"The answer has more than {MIB} bytes.", sent=True)
    if result.is_error:
        shown = text or "Error: the tool gave no reason."
        said = f"{call.name} answered with an error."
        return Try("tool_error", shown, exchange.status, exchange.received, said)
    return Try("ok", text, exchange.status, exchange.received)


def _text(result: CallToolResult) -> str:
    """What the model sees: the texts, what else there is by its kind, else the structured reply."""
    parts = []
    for block in result.content:
        if isinstance(block, TextContent):
            parts.append(block.text)
        elif isinstance(block, EmbeddedResource) and isinstance(
            block.resource, TextResourceContents
        ):
            parts.append(block.resource.text)
        else:
            parts.append(f"[{block.type}]")
    if not parts and result.structured_content is not None:
        parts = [json.dumps(result.structured_content, ensure_ascii=False)]
    return "\n".join(parts).replace("\x00", "\ufffd")


def _refused(error: MCPError, exchange: Exchange, call: FunctionCall) -> Try:
    if exchange.error is not None:
        return _lost(error, exchange, call)
    status, received = exchange.status, exchange.received
    words = _words(error)
    if error.code == INVALID_PARAMS:
        said = f"{call.name} refused the arguments: {words}"
        return Try("tool_error", f"Error: {words}", status, received, said)
    http = f" with HTTP {status}" if status is not None and status >= 400 else ""
    failed = status is None or status >= 500 or (status < 400 and error.code != PARSE_ERROR)
    said = f"{call.name} did not answer the call{http}: {words}"
    return Try("fault", None, status, received, said, retry=failed)


def _lost(error: BaseException, exchange: Exchange, call: FunctionCall) -> Try:
    cause = exchange.error
    if isinstance(cause, OutboundTooLarge):
        return too_large(cause.message, sent=True)
    if isinstance(cause, OutboundBlocked | OutboundInvalid):
        return Try("fault", error=cause.message, sent=False)
    status, received = exchange.status, exchange.received
    if cause is not None:
        text = f"{call.name}: {cause.message}"
        retry = not 300 <= (status or 0) < 400
        return Try("fault", None, status, received, text, retry=retry, sent=cause.sent)
    text = f"{call.name} did not keep to the protocol: {_words(error)}"
    return Try("fault", None, status, received, text, retry=not _is_garbage(error))


def _is_garbage(error: BaseException) -> bool:
    return isinstance(error, ValidationError)


def _words(error: BaseException) -> str:
    """A sentence of the innermost error; how the library lays out its own is no matter here."""
    while isinstance(error, BaseExceptionGroup) and error.exceptions:
        error = error.exceptions[0]
    if isinstance(error, ValidationError):
        return "its answer does not have the form of one."
    text = (str(error).split("\n", 1)[0] or type(error).__name__)[:300]
    return text if text.endswith(".") else f"{text}."
