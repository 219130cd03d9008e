"""Tools that are answered from a recording: for tests that must come out the same twice.

Nothing is called. A call that the recording cannot answer faults and says so, as a dead tool would.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hone.core.net.recorded import Answers
from jobs.engine.rollout.parse import clean_text
from jobs.engine.rollout.replay import Executes
from jobs.engine.types import Task, ToolCall


class RecordedExecutor:
    """`inner` knows the tools: what the model is told of them, and which names are none."""

    def __init__(self, inner: Executes, answers: Answers) -> None:
        self._inner = inner
        self._answers = answers

    def schemas(self, task: Task) -> list[dict[str, Any]]:
        return self._inner.schemas(task)

    async def execute(
        self,
        calls: Sequence[ToolCall],
        *,
        trace_id: str,
        item: Mapping[str, Any],
        offered: Sequence[str],
        keys: Sequence[str],
    ) -> None:
        """Answer each call of a turn; one of an unknown tool is refused as it would be live."""
        for call in calls:
            if call.status == "pending" and call.name in offered:
                self._answer(call, item)
        await self._inner.execute(calls, trace_id=trace_id, item=item, offered=offered, keys=keys)

    def _answer(self, call: ToolCall, item: Mapping[str, Any]) -> None:
        found = self._answers.find(call.name, call.arguments, item)
        if isinstance(found, str):
            call.status, call.error = "fault", clean_text(found)
            return
        call.status, call.output = found.status, clean_text(found.output)
        call.http_status, call.error = found.http_status, clean_text(found.error)
