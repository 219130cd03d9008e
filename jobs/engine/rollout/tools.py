"""Makes the tool calls of a turn: at once, within each endpoint's limits, answers in order."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hone.core.net.attempts import EndpointGuard, Pace
from hone.core.net.client import AsyncGuardedClient
from hone.core.net.function_call import CallLimits, CallOutcome, FunctionCall, call_function
from hone.core.net.mcp_calls import McpServer
from hone.core.net.retry_budget import RetryBudgets
from jobs.engine.rollout.parse import clean_text
from jobs.engine.spec import ToolSpec
from jobs.engine.types import UNKNOWN_TOOL, Task, ToolCall

MAX_ATTEMPTS = 4


@dataclass(slots=True)
class _Endpoint:
    """What is shared by the tools at one address, in one event loop."""

    slots: asyncio.Semaphore
    guard: EndpointGuard
    servers: dict[frozenset[tuple[str, str]], McpServer] = field(default_factory=dict)
    """By headers: tools that have the same share the session of a rollout."""


class ToolExecutor:
    """The tools of one job. `headers`: secret HTTP headers by tool name."""

    def __init__(
        self,
        tools: Sequence[ToolSpec],
        headers: Mapping[str, Mapping[str, str]],
        client: AsyncGuardedClient,
    ) -> None:
        self._tools = {tool.name: tool for tool in tools}
        self._headers = {name: dict(given) for name, given in headers.items()}
        self._client = client
        self._budgets = RetryBudgets()
        self._endpoints: dict[str, _Endpoint] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    async def aclose(self) -> None:
        """End the sessions with MCP servers."""
        endpoints, self._endpoints, self._loop = self._endpoints, {}, None
        for endpoint in endpoints.values():
            for server in endpoint.servers.values():
                await server.aclose()

    def schemas(self, task: Task) -> list[dict[str, Any]]:
        """What the model is told: the row's own tools, else those registered with the job."""
        if task.tools:
            return list(task.tools)
        return [
            {
                "type": "function",
                "function": {
                    "name": tool.name,
                    "description": tool.description,
                    "parameters": tool.parameters,
                },
            }
            for tool in self._tools.values()
        ]

    async def execute(
        self,
        calls: Sequence[ToolCall],
        *,
        trace_id: str,
        item: Mapping[str, Any],
        offered: Sequence[str],
        keys: Sequence[str],
    ) -> None:
        """Fill in what came of each call. `offered`: the tools this row may call; `keys`: one
        idempotency key a call. Malformed calls are left as they are."""
        self._renew_endpoints()
        await asyncio.gather(
            *(
                self._execute_one(call, trace_id, dict(item), offered, key)
                for call, key in zip(calls, keys, strict=True)
                if call.status == "pending"
            )
        )

    def _renew_endpoints(self) -> None:
        """Semaphores belong to one event loop; a job may use several, one after the other."""
        loop = asyncio.get_running_loop()
        if self._loop is loop:
            return
        self._loop = loop
        sharing: dict[str, list[ToolSpec]] = defaultdict(list)
        for tool in self._tools.values():
            sharing[tool.url].append(tool)
        self._endpoints = {url: self._endpoint(url, tools) for url, tools in sharing.items()}

    def _endpoint(self, url: str, tools: Sequence[ToolSpec]) -> _Endpoint:
        rates = [tool.rate_limit for tool in tools if tool.rate_limit is not None]
        return _Endpoint(
            asyncio.Semaphore(min(tool.max_concurrency for tool in tools)),
            EndpointGuard(pace=Pace(min(rates, default=None)), budget=self._budgets.of(url)),
        )

    async def _execute_one(
        self,
        call: ToolCall,
        trace_id: str,
        item: dict[str, Any],
        offered: Sequence[str],
        key: str,
    ) -> None:
        tool = self._tools.get(call.name)
        if tool is None or call.name not in offered:
            known = ", ".join(name for name in offered if name in self._tools) or "none"
            call.status = "malformed"
            call.error = f"{UNKNOWN_TOOL} {call.name!r}"
            call.output = f"Error: there is no tool named {call.name!r}. Tools: {known}."
            return
        function_call = FunctionCall(
            id=call.id.replace("call_", "fc_", 1),
            call_id=call.id,
            name=call.name,
            arguments=call.arguments,
            trace_id=trace_id,
            item=item,
        )
        limits = CallLimits(
            timeout_s=tool.timeout_s,
            max_attempts=MAX_ATTEMPTS,
            idempotent=tool.idempotent,
            effects=tool.effects,
        )
        endpoint = self._endpoints[tool.url]
        async with endpoint.slots:
            outcome = await self._call(tool, endpoint, function_call, limits, key)
        _take_outcome(call, outcome)

    async def _call(
        self,
        tool: ToolSpec,
        endpoint: _Endpoint,
        call: FunctionCall,
        limits: CallLimits,
        key: str,
    ) -> CallOutcome:
        headers = self._headers.get(tool.name, {})
        if tool.kind == "http":
            return await call_function(
                self._client,
                url=tool.url,
                headers=headers,
                call=call,
                limits=limits,
                idempotency_key=key,
                guard=endpoint.guard,
            )
        who = frozenset(headers.items())
        if who not in endpoint.servers:
            endpoint.servers[who] = McpServer(self._client, tool.url, headers)
        return await endpoint.servers[who].call(
            call, tool.remote_name, limits=limits, idempotency_key=key, guard=endpoint.guard
        )


def _take_outcome(call: ToolCall, outcome: CallOutcome) -> None:
    call.status = outcome.status
    call.output = None if outcome.output is None else clean_text(outcome.output)
    call.http_status = outcome.http_status
    call.attempts = outcome.attempts
    call.seconds = outcome.seconds
    call.bytes_sent = outcome.bytes_sent
    call.bytes_received = outcome.bytes_received
    call.error = clean_text(outcome.error or "")
