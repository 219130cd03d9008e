"""A preflight: the base model tries some tasks, and nothing of it is trained.

Its steps are slices of the tasks, as many as a training step draws, so that a slice takes as long
as the rollouts of a step would. After the last one, updates of the job's size are timed on the
attempts of that slice and thrown away with the process.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from jobs.engine.collect import RECORDING_REMEDY, REMEDIES, Batch, Collector
from jobs.engine.control import ControlReader
from jobs.engine.credit.base import is_graded
from jobs.engine.errors import PauseReason, RunFailed, RunPaused
from jobs.engine.events import Message, Started, StepDone
from jobs.engine.learning.losses.registry import loss_named
from jobs.engine.learning.model import Policy
from jobs.engine.learning.update import Learner
from jobs.engine.memory import is_out_of_memory, out_of_memory_text
from jobs.engine.metrics import rollout_stats
from jobs.engine.ranks import Ranks
from jobs.engine.reporting import EventWriter, write_bodies
from jobs.engine.spec import Handshake, JobSpec, PreflightSpec
from jobs.engine.types import Attribution, Trajectory
from jobs.engine.wiring import rollouts, started_facts

Lost = PauseReason | Literal["grader_failed", ""]

TIMED_TWICE_S = 20.0
"""A first update that is quicker is made again: it paid for what is set up once."""


async def preflighted(
    handshake: Handshake,
    wanted: PreflightSpec,
    policy: Policy,
    writer: EventWriter,
    control: ControlReader,
    ranks: Ranks,
) -> None:
    """Try every task, slice by slice; raises RunPaused where a part of the world is away."""
    spec, step = handshake.spec, handshake.last_step
    slices = list(_slices(wanted.rows, spec.groups_per_step))
    async with rollouts(handshake, policy, ranks) as parts:
        collector = Collector(spec, parts.runner, parts.grader, writer, ranks=ranks)
        writer.emit(Started(**started_facts(spec, policy), first_step=step + 1))
        for place, rows in enumerate(slices):
            step += 1
            left = len(slices) - 1 - place
            batch = await collector.attempts(step, rows, wanted.attempts)
            lost, text = _lost(batch)
            trial: dict[str, Any] = {}
            if not left and not lost:
                writer.progress(step, "learning", 0, len(batch.trajectories))
                trial = timed_updates(spec, policy, batch.trajectories, control, ranks)
            control.check()
            if not ranks.index:
                writer.emit(_step_done(handshake, step, left, batch, lost, text, trial))
            if lost == "tool_unavailable" and handshake.recording:
                raise RunFailed("recording_incomplete", f"{text}. {RECORDING_REMEDY}")
            if lost == "grader_failed" or (lost and wanted.is_last_try):
                return
            if lost:
                raise RunPaused(lost, f"{text}. {REMEDIES[lost]}")


def _slices(rows: Sequence[int], size: int) -> Iterator[tuple[int, ...]]:
    for start in range(0, len(rows), size):
        yield tuple(rows[start : start + size])


def _lost(batch: Batch) -> tuple[Lost, str]:
    """Why most of a slice says nothing about the model, and the evidence; empty where it does.

    The clock is no such reason: attempts that run out of time are a finding.
    """
    failure = batch.grader_failure()
    if failure is not None:
        return "grader_failed", failure
    outage = batch.outage()
    return ("", "") if outage is None or outage[0] == "too_slow" else outage


def _step_done(
    handshake: Handshake,
    step: int,
    left: int,
    batch: Batch,
    lost: str,
    text: str,
    trial: dict[str, Any],
) -> StepDone:
    started = time.monotonic()
    members = batch.trajectories
    bodies, rows = write_bodies(Path(handshake.run_dir), step, handshake.epoch, members)
    tools = frozenset(tool.name for tool in handshake.spec.tools)
    sampling = batch.rollout_seconds + batch.grading_seconds
    return StepDone(
        step=step,
        total_steps=step + left,
        metrics={
            "preflight": rollout_stats(members, tools) | {"lost": lost, "lost_text": text},
            "trial": trial,
            "seconds": {
                "rollout": batch.rollout_seconds,
                "grading": batch.grading_seconds,
                "total": sampling + trial.get("seconds_total", 0.0) + time.monotonic() - started,
            },
        },
        trajectories=rows,
        bodies=bodies,
        messages=(Message(level="warn", code=lost, text=text),) if lost else (),
    )


def timed_updates(
    spec: JobSpec,
    policy: Policy,
    members: Sequence[Trajectory],
    control: ControlReader,
    ranks: Ranks,
) -> dict[str, Any]:
    """What an update on these attempts takes, or why it cannot be made.

    The learner computes what has an advantage, so each copy gets one, whatever its reward.
    """
    learner = Learner(policy, spec, loss_named(spec.loss.name), ranks)
    copies = [_trainable(member, place) for place, member in enumerate(members)]
    usable = [copy for copy in copies if copy.trained]
    begun = time.monotonic()
    try:
        seconds = _timed(learner, usable, control)
        if seconds < TIMED_TWICE_S:
            seconds = _timed(learner, usable, control)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        return {"refused": out_of_memory_text(error)}
    return {
        "rollouts": len(usable),
        "tokens": sum(member.trained_tokens for member in usable),
        "total_tokens": sum(len(member.ids) for member in usable),
        "seconds": seconds,
        "seconds_total": time.monotonic() - begun,
    }


def _timed(learner: Learner, members: Sequence[Trajectory], control: ControlReader) -> float:
    started = time.monotonic()
    learner.step(members, control.check)
    return time.monotonic() - started


def _trainable(member: Trajectory, place: int) -> Trajectory:
    sign = 1.0 if place % 2 else -1.0
    turns = [Attribution(turn=turn.index, tool_call_id=None, episode=sign) for turn in member.turns]
    trained = is_graded(member) and member.trained_tokens > 0
    return msgspec.structs.replace(member, advantage=sign, attribution=turns, trained=trained)
