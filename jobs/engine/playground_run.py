"""A playground: each of its models tries one task once, with the same seed, and nothing is trained.

Its steps are its sides. The models are loaded one after the other, so that two fit where one does;
two sides on one base model load it once.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import msgspec

from jobs.engine.control import ControlReader
from jobs.engine.events import Started, StepDone, TurnsSoFar
from jobs.engine.judge_costs import judge_stats
from jobs.engine.learning.model import Policy
from jobs.engine.ranks import Alone, Ranks
from jobs.engine.reporting import EventWriter, write_bodies
from jobs.engine.rollout.identity import RolloutRequest
from jobs.engine.spec import Handshake, PlaygroundSpec
from jobs.engine.types import Task, ToolCall, Trajectory, Turn
from jobs.engine.wiring import make_policy, rollouts, set_threads, started_facts

SHOWN_RESULT = 4096
"""Characters of a tool's result while the rollout goes on; afterwards it is there as a whole."""


async def played(
    handshake: Handshake,
    playground: PlaygroundSpec,
    writer: EventWriter,
    control: ControlReader,
    ranks: Ranks,
) -> None:
    """Try the sides that are left. One rollout cannot be shared: the first process makes it."""
    if ranks.index:
        return
    loaded: Policy | None = None
    for step in range(handshake.last_step + 1, len(playground.sides)):
        if step == 0 or _base(playground, step) != _base(playground, step - 1):
            loaded = None  # Before the next one is read, so that there is room for it.
        side = side_handshake(handshake, playground, step)
        loaded, done = await _tried(side, playground, step, writer, loaded)
        control.check()
        writer.emit(done)


def _base(playground: PlaygroundSpec, step: int) -> str:
    return playground.sides[step].model_path


def side_handshake(handshake: Handshake, playground: PlaygroundSpec, step: int) -> Handshake:
    """A run for each side, so that to the tools they are two: traces and idempotency keys differ.
    The seeds of turns do not come from it, and are the same."""
    side = playground.sides[step]
    spec = msgspec.structs.replace(
        handshake.spec,
        run_id=f"{handshake.spec.run_id}-{step}",
        model_path=side.model_path,
        model_name=side.model_name,
        lora=side.lora,
    )
    return msgspec.structs.replace(handshake, spec=spec)


async def _tried(
    handshake: Handshake,
    playground: PlaygroundSpec,
    step: int,
    writer: EventWriter,
    loaded: Policy | None,
) -> tuple[Policy, StepDone]:
    spec, begun = handshake.spec, time.monotonic()
    task = Task(
        playground.row, tuple(playground.item["messages"]), playground.tools, playground.item
    )
    writer.progress(step, "loading", 0, 1)
    policy = await asyncio.to_thread(make_policy, spec, loaded)
    set_threads(spec, policy)
    ready = time.monotonic()
    writer.emit(Started(**started_facts(spec, policy), first_step=step))
    async with rollouts(handshake, policy, Alone()) as parts:
        request = RolloutRequest(task=task, group="0", sample=0, split="playground", step=0)
        (rollout,) = await parts.runner.run(
            [request], on_turn=lambda so_far: writer.emit(turns_so_far(step, so_far))
        )
        rolled = time.monotonic()
        await parts.grader.grade(rollout, task)
        judged = judge_stats(parts.callers.judges, Alone())
    rollout.uid = side_uid(step)
    bodies, rows = write_bodies(Path(handshake.run_dir), step, handshake.epoch, [rollout])
    ended = time.monotonic()
    done = StepDone(
        step=step,
        total_steps=len(playground.sides) - 1,
        metrics={
            "seconds": {
                "loading": ready - begun,
                "rollout": rolled - ready,
                "grading": ended - rolled,
                "total": ended - begun,
            },
            **({"judges": judged} if judged else {}),
        },
        trajectories=rows,
        bodies=bodies,
    )
    return policy, done


def side_uid(step: int) -> str:
    """What pages call the rollout; the one that its seeds come from is the same on all sides."""
    return f"side-{'AB'[step]}"


def turns_so_far(step: int, rollout: Trajectory) -> TurnsSoFar:
    """The rollout as it stands, small enough to be sent after every turn."""
    shown = msgspec.structs.replace(
        rollout,
        uid=side_uid(step),
        ids=[],
        logprobs=[],
        entropies=[],
        kinds=[],
        turns=[_shown_turn(turn) for turn in rollout.turns],
    )
    return TurnsSoFar(step=step, rollout=shown)


def _shown_turn(turn: Turn) -> Turn:
    return msgspec.structs.replace(turn, calls=[_shown_call(call) for call in turn.calls])


def _shown_call(call: ToolCall) -> ToolCall:
    if call.output is None or len(call.output) <= SHOWN_RESULT:
        return call
    return msgspec.structs.replace(call, output=f"{call.output[:SHOWN_RESULT]}…")
