"""Makes the tool calls of a turn: at once, within each tool's limit, answers in order."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from hone.core.net.client import AsyncGuardedClient
from hone.core.net.function_call import CallLimits, CallOutcome, FunctionCall, call_function
from jobs.engine.rollout.parse import clean_text
from jobs.engine.spec import ToolSpec
from jobs.engine.types import UNKNOWN_TOOL, Task, ToolCall

MAX_ATTEMPTS = 4


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
        self._slots: dict[str, asyncio.Semaphore] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

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
        self._renew_slots()
        await asyncio.gather(
            *(
                self._execute_one(call, trace_id, dict(item), offered, key)
                for call, key in zip(calls, keys, strict=True)
                if call.status == "pending"
            )
        )

    def _renew_slots(self) -> None:
        """Semaphores belong to one event loop; a job may use several, one after the other."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._loop = loop
            self._slots = {
                name: asyncio.Semaphore(tool.max_concurrency) for name, tool in self._tools.items()
            }

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
        async with self._slots[call.name]:
            outcome = await call_function(
                self._client,
                url=tool.url,
                headers=self._headers.get(call.name, {}),
                call=function_call,
                limits=limits,
                idempotency_key=key,
            )
        _take_outcome(call, outcome)


def _take_outcome(call: ToolCall, outcome: CallOutcome) -> None:
    call.status = outcome.status
    call.output = None if outcome.output is None else clean_text(outcome.output)
    call.http_status = outcome.http_status
    call.attempts = outcome.attempts
    call.seconds = outcome.seconds
    call.bytes_sent = outcome.bytes_sent
    call.bytes_received = outcome.bytes_received
    call.error = clean_text(outcome.error or "")
