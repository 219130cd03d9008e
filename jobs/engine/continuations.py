"""Measures tool calls by playing on from before and from after them; all at once, then graded.

Nothing that goes wrong here fails a step: a continuation that faulted is unusable, and where none
could be run at all there is no estimate.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from jobs.engine.collect import Grades, Runner
from jobs.engine.credit.anchored import Visit
from jobs.engine.credit.base import is_graded
from jobs.engine.credit.counterfactual import (
    CounterfactualCredit,
    choose_calls,
    compare,
    scale_of,
)
from jobs.engine.ranks import Alone, Ranks, own_share
from jobs.engine.rollout.identity import Prefix, RolloutRequest, continuation_uid
from jobs.engine.rollout.replay import Record, needed_the_record, record_of
from jobs.engine.spec import CounterfactualSpec, ToolSpec
from jobs.engine.types import Task, ToolCall, Trajectory


@dataclass(frozen=True, slots=True)
class Estimate:
    """What was found out about each chosen turn, and what it cost."""

    credits: dict[Visit, CounterfactualCredit]
    cost: dict[str, Any]
    """For metrics; see `_cost`."""
    failure: str = ""
    """Why no continuation could be run here; empty where they were."""


class Continuations:
    """The continuations of one job. `task_of`: the row that a rollout was an attempt at."""

    def __init__(
        self,
        runner: Runner,
        grader: Grades,
        tools: Sequence[ToolSpec],
        task_of: Callable[[Trajectory], Task],
        *,
        ranks: Ranks | None = None,
    ) -> None:
        self._runner = runner
        self._grader = grader
        self._tools = tools
        self._task_of = task_of
        self._ranks = ranks or Alone()

    async def estimate(
        self, spec: CounterfactualSpec, trajectories: Sequence[Trajectory], step: int
    ) -> Estimate:
        """Of a step's rollouts, the most uncertain turns, within the budget."""
        visits = choose_calls(trajectories, spec.calls_per_step)
        return await self.measure(visits, spec.continuations, trajectories, step)

    async def measure(
        self, visits: Sequence[Visit], count: int, trajectories: Sequence[Trajectory], step: int
    ) -> Estimate:
        """These turns, by `count` continuations from each side.

        `trajectories`: whole groups, for the record. The state after one turn is that before the
        next: where both are asked for, their continuations are shared. With several ranks, all
        must ask for the same, and all get the same, but for `failure` and the seconds.
        """
        started = time.monotonic()
        requests = self._requests(visits, count, trajectories, step)
        found, failure = await self._roll_out(own_share(self._ranks, requests))
        found = await self._ranks.gather(found)
        by_uid = {member.uid: member for member in found}
        seen = [*trajectories, *found]
        scale = scale_of(float(member.reward or 0.0) for member in seen if is_graded(member))
        credits: dict[Visit, CounterfactualCredit] = {}
        for uid, turn in visits:
            sides = [
                [by_uid.get(continuation_uid(uid, cut, k)) for k in range(count)]
                for cut in (turn, turn + 1)
            ]
            credits[uid, turn] = _credit(sides[0], sides[1], scale)
        cost = _cost(requests, by_uid, credits, time.monotonic() - started)
        return Estimate(credits, cost, failure)

    def _requests(
        self, visits: Sequence[Visit], count: int, trajectories: Sequence[Trajectory], step: int
    ) -> list[RolloutRequest]:
        by_uid = {member.uid: member for member in trajectories}
        groups: dict[str, list[Trajectory]] = defaultdict(list)
        for member in trajectories:
            groups[member.group].append(member)
        records: dict[str, Record] = {}
        requests: list[RolloutRequest] = []
        for uid, cut in dict.fromkeys(
            (uid, turn + side) for uid, turn in visits for side in (0, 1)
        ):
            parent = by_uid[uid]
            if not 0 <= cut < len(parent.turns):
                raise ValueError(f"{uid} has no turn {cut} to play on from")
            if parent.group not in records:
                records[parent.group] = record_of(groups[parent.group], self._tools)
            requests += [
                RolloutRequest(
                    task=self._task_of(parent),
                    group=parent.group,
                    sample=parent.sample,
                    split="train",
                    step=step,
                    prefix=Prefix(parent, cut, k, records[parent.group]),
                )
                for k in range(count)
            ]
        return requests

    async def _roll_out(self, requests: Sequence[RolloutRequest]) -> tuple[list[Trajectory], str]:
        """All of them or none: those that end before a failure are the short ones."""
        if not requests:
            return [], ""
        tasks = {request.uid: request.task for request in requests}
        grading: list[asyncio.Task[None]] = []

        def on_done(trajectory: Trajectory) -> None:
            grade = self._grade(trajectory, tasks[trajectory.uid])
            grading.append(asyncio.ensure_future(grade))

        try:
            found = await self._runner.run(requests, on_done)
            await asyncio.gather(*grading)
        except Exception as error:  # noqa: BLE001 - a step never fails for what is measured beside it
            return [], f"the continuations failed with {type(error).__name__}: {error}"
        finally:
            for task in grading:
                task.cancel()
        return found, ""

    async def _grade(self, trajectory: Trajectory, task: Task) -> None:
        try:
            await self._grader.grade(trajectory, task)
        except Exception as error:  # noqa: BLE001 - as above
            trajectory.reward = None
            trajectory.cause = f"grader: {type(error).__name__}: {error}"


def note_measured(trajectories: Sequence[Trajectory], estimate: Estimate) -> None:
    """Keep on each turn what was measured of it."""
    by_uid = {member.uid: member for member in trajectories}
    for (uid, turn), credit in estimate.credits.items():
        by_uid[uid].turns[turn].measured = credit.measured


def _credit(
    before: Sequence[Trajectory | None],
    after: Sequence[Trajectory | None],
    scale: tuple[float, float],
) -> CounterfactualCredit:
    credit = compare([_reward(m) for m in before], [_reward(m) for m in after], scale)
    causes = Counter(_cause(member) for member in (*before, *after) if _reward(member) is None)
    if not causes:
        return credit
    cause, times = causes.most_common(1)[0]
    return replace(credit, reason=f"{credit.reason}; {times} because of {cause}")


def _reward(member: Trajectory | None) -> float | None:
    return member.reward if member is not None and is_graded(member) else None


def _cause(member: Trajectory | None) -> str:
    if member is None:
        return "a failure of all continuations"
    return member.cause or "a reward that is none"


def _cost(
    requests: Sequence[RolloutRequest],
    found: dict[str, Trajectory],
    credits: dict[Visit, CounterfactualCredit],
    seconds: float,
) -> dict[str, Any]:
    """`calls` were made for real; `unrecorded` continuations needed a call that may not be."""
    members = list(found.values())
    cut = {request.uid: request.prefix.turn for request in requests if request.prefix}
    calls: list[ToolCall] = [
        call for m in members for turn in m.turns[cut[m.uid] :] for call in turn.calls
    ]
    return {
        "measured": sum(credit.delta is not None for credit in credits.values()),
        "unmeasured": sum(credit.delta is None for credit in credits.values()),
        "rollouts": len(requests),
        "unusable": len(requests) - sum(is_graded(member) for member in members),
        "unrecorded": sum(needed_the_record(member) for member in members),
        "sampled_tokens": sum(member.sampled_tokens for member in members),
        "tool_calls": sum(call.attempts > 0 for call in calls),
        "seconds": seconds,
    }
