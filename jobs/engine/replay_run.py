"""A replay: one turn of a stored rollout is measured by continuations, and nothing is trained.

It reads the files of the run that made the rollout, and changes nothing of them.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import zstandard

from jobs.engine.continuations import Continuations, Estimate
from jobs.engine.errors import RunFailed
from jobs.engine.events import ReplayDone
from jobs.engine.judge_costs import judge_totals
from jobs.engine.learning.checkpoint import (
    ADAPTER,
    CheckpointCorrupt,
    parse_state,
    parse_tensors,
    read_checked,
)
from jobs.engine.learning.model import Policy
from jobs.engine.ranks import Ranks
from jobs.engine.reporting import EventWriter, read_body
from jobs.engine.spec import Handshake, ReplaySpec
from jobs.engine.tasks import TaskFile
from jobs.engine.types import Trajectory
from jobs.engine.wiring import rollouts


async def replayed(
    handshake: Handshake, replay: ReplaySpec, policy: Policy, writer: EventWriter, ranks: Ranks
) -> ReplayDone:
    """The change of value that the turn made, or why there is no estimate of it."""
    members = read_group(replay)
    weights_step = await asyncio.to_thread(load_weights, replay, policy, writer)
    train = TaskFile(handshake.spec.train)
    async with rollouts(handshake, policy, ranks) as parts:
        writer.progress(replay.step, "rollout", 0, 2 * replay.continuations)
        continuations = Continuations(
            parts.runner,
            parts.grader,
            handshake.spec.tools,
            lambda member: train.of_row(member.row),
            ranks=ranks,
        )
        visits = [(replay.uid, replay.turn)]
        estimate = await continuations.measure(visits, replay.continuations, members, replay.step)
        judged = judge_totals(parts.callers.judges, ranks)
    measured = next(m for m in members if m.uid == replay.uid).turns[replay.turn]
    done = _done(replay, estimate, weights_step)
    tools = tuple(sorted({call.name for call in measured.calls}))
    return msgspec.structs.replace(done, cost=done.cost | judged, tools=tools)


def read_group(replay: ReplaySpec) -> list[Trajectory]:
    """The rollout and its siblings, whose tool results are the record."""
    path = Path(replay.bodies)
    try:
        members = [read_body(path, offset, length) for offset, length in replay.frames]
    except (OSError, zstandard.ZstdError, msgspec.MsgspecError) as error:
        raise RunFailed(
            "body_unreadable", f"the stored attempts of step {replay.step} cannot be read: {error}"
        ) from error
    turns = {member.uid: len(member.turns) for member in members}.get(replay.uid, 0)
    if not 0 <= replay.turn < turns - 1:
        raise RunFailed(
            "turn_unknown",
            f"{replay.uid} has no turn {replay.turn + 1} that another turn followed, so there is "
            "nothing to compare",
        )
    return members


def load_weights(replay: ReplaySpec, policy: Policy, writer: EventWriter) -> int:
    """Put the first sound checkpoint into the policy; returns its step, 0 for the base model.

    The training run may remove a checkpoint at any time; then the next choice takes its place.
    """
    for point in replay.weights:
        path = Path(point.path)
        try:
            files = read_checked(path, point.manifest_sha256)
            tensors = parse_tensors(path, ADAPTER, files)
            base = parse_state(path, files).base_sha256
        except CheckpointCorrupt as error:
            writer.warn(
                "weights_unusable",
                f"The checkpoint of step {point.step} cannot be used for a measurement: "
                f"{error.file} is missing or damaged. The next best one takes its place.",
            )
            continue
        if base != policy.base_sha256:
            raise RunFailed(
                "checkpoint_mismatch",
                f"the checkpoint {path.name} belongs to another base model ({base[:12]}, "
                f"expected {policy.base_sha256[:12]})",
            )
        policy.adapter_load(tensors)
        return point.step
    return 0


def _done(replay: ReplaySpec, estimate: Estimate, weights_step: int) -> ReplayDone:
    credit, cost = estimate.credits[replay.uid, replay.turn], estimate.cost
    # Without an estimate, what the world did to most continuations is an outage: it is worth
    # another try. A call that may not be made again is the answer of this turn.
    if credit.delta is None and 2 * cost["unrecorded"] < cost["unusable"]:
        raise RunFailed("continuations_lost", estimate.failure or credit.reason)
    return ReplayDone(
        uid=replay.uid,
        turn=replay.turn,
        delta=credit.delta,
        interval=credit.interval,
        n=credit.n,
        unusable=credit.unusable,
        reason=credit.reason,
        weights_step=weights_step,
        cost=cost,
    )
