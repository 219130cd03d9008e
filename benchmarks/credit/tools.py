"""The tools of a world, called in process: the benchmark is of credit, not of transport."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

from benchmarks.credit.worlds.base import State, World
from jobs.engine.rollout.tools import ToolExecutor
from jobs.engine.spec import ToolSpec
from jobs.engine.types import ToolCall


class WorldTools(ToolExecutor):
    """Keeps the state of each rollout by its trace id."""

    def __init__(self, world: World) -> None:
        super().__init__([ToolSpec(name, url="") for name in world.tools], {}, cast(Any, None))
        self._world = world
        self._states: dict[str, State] = {}

    async def execute(
        self,
        calls: Sequence[ToolCall],
        *,
        trace_id: str,
        item: Mapping[str, Any],
        offered: Sequence[str],
        keys: Sequence[str],
    ) -> None:
        state = self.state(trace_id, str(item["task"]))
        for call in calls:
            if call.status != "pending":
                continue
            if call.name not in offered:
                call.status, call.output = "malformed", "no such tool"
                continue
            call.output = self._world.use(state, call.name, json.loads(call.arguments))
            call.status = "ok"

    def state(self, trace_id: str, task: str) -> State:
        """Where this rollout is; a new one stands at its task's beginning."""
        return self._states.setdefault(trace_id, State(task, scores=[]))

    def forget(self) -> None:
        """An iteration is over."""
        self._states.clear()
