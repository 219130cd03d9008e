"""Tools for a continuation: side effects are never made again, their answers come from the record.

What a tool writes belongs to its trace, and a continuation has a trace of its own, in which the
calls of its beginning were never made. So the state of a trace is named by the writing calls made
in it, in order, and a recorded answer counts only in the same state:

- a tool with effects "none" is called;
- one that "reads" is called as long as nothing was written in this history, since a trace that
  wrote nothing is as good as any other; after that it is answered from the record;
- one that "writes" is always answered from the record.

An answer that is not in the record, or is there with different outcomes, faults the call: the
continuation ends, has no reward, and nothing was called.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from jobs.engine.rollout.loops import canonical_arguments
from jobs.engine.spec import Effects, ToolSpec
from jobs.engine.types import Task, ToolCall, Trajectory, Turn

NOT_RECORDED = "its answer would have to come from the record, which has none for this call"

Written = tuple[tuple[str, str], ...]
"""The writing calls of one turn, by name and arguments. They were made at once."""
State = tuple[Written, ...]
Key = tuple[State, str, str]


class Executes(Protocol):
    """Fills in what came of the calls of a turn; see `ToolExecutor`."""

    def schemas(self, task: Task) -> list[dict[str, Any]]: ...

    async def execute(
        self,
        calls: Sequence[ToolCall],
        *,
        trace_id: str,
        item: Mapping[str, Any],
        offered: Sequence[str],
        keys: Sequence[str],
    ) -> None: ...


@dataclass(frozen=True, slots=True)
class Record:
    """What the rollouts of one task saw. `answers` holds one call of those that answered alike."""

    effects: Mapping[str, Effects]
    answers: Mapping[Key, ToolCall]

    def state_after(self, turns: Iterable[Turn]) -> State:
        written = (self.written(turn.calls) for turn in turns)
        return tuple(calls for calls in written if calls)

    def written(self, calls: Iterable[ToolCall]) -> Written:
        """A call that faulted may have acted all the same; a malformed one was never made."""
        return tuple(
            (call.name, canonical_arguments(call.arguments))
            for call in calls
            if call.status != "malformed" and self.effects.get(call.name) == "writes"
        )


def record_of(members: Iterable[Trajectory], tools: Iterable[ToolSpec]) -> Record:
    """The record of one group: give only rollouts of the same task."""
    answers: dict[Key, ToolCall] = {}
    record = Record({tool.name: tool.effects for tool in tools}, answers)
    contradicted: set[Key] = set()
    for member in members:
        for place, turn in enumerate(member.turns):
            state = record.state_after(member.turns[: place + 1])
            for call in turn.calls:
                if call.status not in {"ok", "tool_error"}:
                    continue
                key = _key(state, call)
                if _outcome(answers.setdefault(key, call)) != _outcome(call):
                    contradicted.add(key)
    for key in contradicted:
        del answers[key]
    return record


class ReplayExecutor:
    """The tools of one continuation. `before`: the turns that it begins with."""

    def __init__(self, inner: Executes, record: Record, before: Iterable[Turn]) -> None:
        self._inner = inner
        self._record = record
        self._state = record.state_after(before)

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
        """One turn. Nothing is called where any of its calls would need an unrecorded answer."""
        # A tool whose effects nobody declared here is refused as unknown, and not tried out.
        offered = [name for name in offered if name in self._record.effects]
        made = [call for call in calls if call.status == "pending" and call.name in offered]
        written = self._record.written(made)
        self._state += (written,) if written else ()
        recorded = {call.id: self._recorded(call) for call in made if self._is_replayed(call)}
        for call in made:
            if recorded.get(call.id, call) is None:
                call.status, call.error = "fault", NOT_RECORDED
                return
        for call in made:
            answer = recorded.get(call.id)
            if answer is not None:
                call.status, call.output = answer.status, answer.output
                call.http_status, call.error = answer.http_status, answer.error
        real = [place for place, call in enumerate(calls) if call.id not in recorded]
        await self._inner.execute(
            [calls[place] for place in real],
            trace_id=trace_id,
            item=item,
            offered=offered,
            keys=[keys[place] for place in real],
        )

    def _is_replayed(self, call: ToolCall) -> bool:
        effects = self._record.effects[call.name]
        return effects == "writes" or (effects == "reads" and bool(self._state))

    def _recorded(self, call: ToolCall) -> ToolCall | None:
        return self._record.answers.get(_key(self._state, call))


def needed_the_record(trajectory: Trajectory) -> bool:
    """Whether a continuation ended because of a call that may only be replayed."""
    return any(call.error == NOT_RECORDED for call in trajectory.calls)


def _key(state: State, call: ToolCall) -> Key:
    """Calls of one turn are made at once, so its writing calls belong to the state of each."""
    return state, call.name, canonical_arguments(call.arguments)


def _outcome(call: ToolCall) -> tuple[str, str | None]:
    return call.status, call.output
