"""One rollout: turns and tool calls until a final answer or a limit.

The token list only grows: prompt, what the model sampled, what the template puts after it. Each
budget ends the rollout with a stop reason of its own; a fault of a tool ends it without a reward.

A continuation begins with a part of another rollout, which counts against its budgets, all but the
clock.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from jobs.engine.rollout.identity import (
    RolloutRequest,
    call_id,
    idempotency_key,
    trace_id,
    turn_seed,
)
from jobs.engine.rollout.loops import TOOL_LOOP_WARNING, WARN_AT, ToolLoopDetector
from jobs.engine.rollout.parse import ParsedTurn, parse_turn
from jobs.engine.rollout.render import ChatRenderer, TemplateRefused, ToolMessage
from jobs.engine.rollout.replay import Executes, ReplayExecutor
from jobs.engine.sampling.base import Sampled, Sampler, SampleRequest
from jobs.engine.spec import Budgets
from jobs.engine.types import StopReason, TokenKind, ToolCall, Trajectory, Turn

UNKNOWN_TOOL = "unknown"
OnTurn = Callable[[Trajectory], None]
"""Hears of a rollout after each model output, and after the answers to its calls."""


@dataclass(frozen=True, slots=True)
class EpisodeSettings:
    """What all rollouts of a job share."""

    budgets: Budgets
    seed: int
    temperature: float
    run_id: str
    context_length: int


@dataclass(frozen=True, slots=True)
class Room:
    """How many tokens the next turn may have, and which limit that is."""

    tokens: int
    reason: StopReason


def room_for_turn(trajectory: Trajectory, settings: EpisodeSettings, earlier: int = 0) -> Room:
    """The tightest of the token limits; on a tie the one that ends most is named.

    `earlier`: sampled tokens of the rollout that this one continues.
    """
    budgets = settings.budgets
    total = min(budgets.max_total_tokens, settings.context_length)
    choices = (
        Room(total - len(trajectory.ids), StopReason.CONTEXT_LIMIT),
        Room(
            budgets.max_sampled_tokens - earlier - trajectory.sampled_tokens,
            StopReason.TOKEN_LIMIT,
        ),
        Room(budgets.max_turn_tokens, StopReason.TURN_TOKEN_LIMIT),
    )
    return min(choices, key=lambda room: room.tokens)


class Episode:
    """Runs one request. `order` is its canonical place among those that run together."""

    def __init__(
        self,
        request: RolloutRequest,
        settings: EpisodeSettings,
        *,
        sampler: Sampler,
        renderer: ChatRenderer,
        executor: Executes,
        order: int,
        on_turn: OnTurn = lambda _: None,
    ) -> None:
        self._request = request
        self._on_turn = on_turn
        self._settings = settings
        self._sampler = sampler
        self._renderer = renderer
        prefix = request.prefix
        self._executor = (
            executor if prefix is None else ReplayExecutor(executor, prefix.record, prefix.turns)
        )
        self._earlier = 0 if prefix is None else prefix.sampled_tokens
        self._order = order
        self._loops = ToolLoopDetector()
        self._schemas = executor.schemas(request.task)
        self._offered = [str(schema["function"]["name"]) for schema in self._schemas]
        self._trajectory = self._begin()
        self._asked = 0.0

    def _begin(self) -> Trajectory:
        request, prefix = self._request, self._request.prefix
        if prefix is None:
            ids = self._renderer.prompt_ids(request.task.messages, self._schemas)
            kinds, turns = [int(TokenKind.PROMPT)] * len(ids), []
        else:
            ids, kinds, turns = prefix.ids, prefix.kinds, prefix.turns
        for call in (call for turn in turns for call in turn.calls):
            self._loops.note(call.name, call.arguments, call.output or "")
        return Trajectory(
            uid=request.uid,
            row=request.task.row,
            group=request.group,
            sample=request.sample,
            split=request.split,
            trace_id=trace_id(self._settings.run_id, request),
            ids=ids,
            logprobs=[0.0] * len(ids),
            entropies=[0.0] * len(ids),
            kinds=kinds,
            turns=turns,
        )

    async def run(self) -> Trajectory:
        """The whole rollout. It is ungraded; a reward comes from the grader alone."""
        started = time.monotonic()
        trajectory = self._trajectory
        try:
            async with asyncio.timeout(self._settings.budgets.wall_s):
                while trajectory.stop is None:
                    trajectory.stop = await self._turn()
                    self._on_turn(trajectory)
        except TimeoutError:
            trajectory.stop = self._out_of_time()
        trajectory.seconds = time.monotonic() - started
        return trajectory

    def _out_of_time(self) -> StopReason:
        """A tool that is still asked when time is up is at fault."""
        waiting = [call for call in self._trajectory.calls if call.status == "pending"]
        limit = self._settings.budgets.wall_s
        if not waiting:
            self._trajectory.cause = f"time: not done within {limit:g} s"
            return StopReason.TIME_LIMIT
        for call in waiting:
            call.status = "fault"
            call.error = f"no answer before the rollout's limit of {limit:g} s was over"
            call.seconds = time.monotonic() - self._asked
        return self._tool_fault(waiting[0])

    def _tool_fault(self, call: ToolCall) -> StopReason:
        self._trajectory.cause = f"tool {call.name}: {call.error}"
        return StopReason.TOOL_FAULT

    async def _turn(self) -> StopReason | None:
        """One model output and its calls; None where the rollout goes on."""
        trajectory = self._trajectory
        if len(trajectory.turns) >= self._settings.budgets.max_turns:
            return StopReason.TURN_LIMIT
        room = room_for_turn(trajectory, self._settings, self._earlier)
        if room.tokens < 1:
            return room.reason
        started = time.monotonic()
        sampled = await self._sampler.generate(
            SampleRequest(
                ids=tuple(trajectory.ids),
                max_tokens=room.tokens,
                temperature=self._settings.temperature,
                seed=turn_seed(self._settings.seed, self._request, len(trajectory.turns)),
                order=self._order,
            )
        )
        turn, parsed = self._note_turn(sampled, time.monotonic() - started)
        if sampled.finish != "stop":
            self._close_turn()
            return StopReason.TOKEN_LOOP if sampled.finish == "loop" else room.reason
        if not parsed.calls:
            return StopReason.FINAL_ANSWER
        return await self._use_tools(turn)

    def _note_turn(self, sampled: Sampled, seconds: float) -> tuple[Turn, ParsedTurn]:
        trajectory = self._trajectory
        shown = sampled.ids[:-1] if sampled.finish == "stop" else sampled.ids
        text = self._renderer.turn_text(shown)
        parsed = parse_turn(
            text,
            self._renderer.tool_format,
            thinking=self._renderer.leaves_thought_open(trajectory.ids),
        )
        start, index = len(trajectory.ids), len(trajectory.turns)
        kept = len(sampled.ids) if sampled.loop_start is None else sampled.loop_start
        trajectory.ids += sampled.ids
        trajectory.logprobs += sampled.logprobs
        trajectory.entropies += sampled.entropies
        trajectory.kinds += [int(TokenKind.SAMPLED)] * kept
        trajectory.kinds += [int(TokenKind.LOOP)] * (len(sampled.ids) - kept)
        turn = Turn(
            index=index,
            start=start,
            end=len(trajectory.ids),
            text=text,
            reasoning=parsed.reasoning,
            content=parsed.content,
            calls=[
                ToolCall(
                    id=call_id(self._settings.run_id, self._request, index, place),
                    name=call.name,
                    arguments=call.arguments,
                    output=call.error or None,
                    status="malformed" if call.error else "pending",
                    error=call.error,
                )
                for place, call in enumerate(parsed.calls)
            ],
            seconds=seconds,
        )
        trajectory.turns.append(turn)
        return turn, parsed

    def _append(self, ids: list[int], kinds: list[int]) -> None:
        trajectory = self._trajectory
        trajectory.ids += ids
        trajectory.kinds += kinds
        trajectory.logprobs += [0.0] * len(ids)
        trajectory.entropies += [0.0] * len(ids)

    def _close_turn(self) -> None:
        """End a cut turn as the template would, where there is room for it."""
        ids = self._renderer.close_turn_ids
        if len(self._trajectory.ids) + len(ids) <= self._settings.context_length:
            self._append(ids, [int(TokenKind.SCAFFOLD)] * len(ids))

    async def _use_tools(self, turn: Turn) -> StopReason | None:
        trajectory = self._trajectory
        if len(trajectory.calls) > self._settings.budgets.max_tool_calls:
            return StopReason.CALL_LIMIT
        self._on_turn(trajectory)
        self._asked = time.monotonic()
        await self._executor.execute(
            turn.calls,
            trace_id=trajectory.trace_id,
            item=self._request.task.item,
            offered=self._offered,
            keys=[
                idempotency_key(self._settings.run_id, self._request, turn.index, place)
                for place in range(len(turn.calls))
            ],
        )
        faults = [call for call in turn.calls if call.status == "fault"]
        if faults:
            return self._tool_fault(faults[0])
        return self._take_results(turn)

    def _take_results(self, turn: Turn) -> StopReason | None:
        messages: list[ToolMessage] = []
        for call in turn.calls:
            output = call.output or ""
            times = self._loops.note(call.name, call.arguments, output)
            if times > WARN_AT:
                return StopReason.TOOL_LOOP
            warning = TOOL_LOOP_WARNING if times == WARN_AT else ""
            # A name that the model made up is its text, and no part of a template.
            name = call.name if call.name in self._offered else UNKNOWN_TOOL
            messages.append(ToolMessage(name, output + warning))
        try:
            suffix = self._renderer.tool_suffix(messages)
        except TemplateRefused as error:
            self._trajectory.cause = f"tool {turn.calls[0].name}: {error}"
            return StopReason.TOOL_FAULT
        limit = min(self._settings.budgets.max_total_tokens, self._settings.context_length)
        if len(self._trajectory.ids) + len(suffix.ids) >= limit:
            return StopReason.CONTEXT_LIMIT
        self._append(suffix.ids, suffix.kinds)
        return None
