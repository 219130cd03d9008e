"""Scores of single turns. An error is never a score: such a turn is None, and says why."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from graders.kinds.base import GradingError
from jobs.engine.credit.base import is_graded
from jobs.engine.rollout.grading import GraderRuns, make_turn_sample, reward_or_error
from jobs.engine.types import Task, Trajectory

OUTAGE_SHARE = 0.5

Scores = dict[str, list[float | None]]
"""By uid, one a turn."""


class TurnScores(Protocol):
    """A source of scores. Rollouts without a reward train nothing and are not asked about."""

    async def score(
        self, trajectories: Sequence[Trajectory], tasks: Mapping[int, Task]
    ) -> Scores: ...


class TurnScoresOutage(Exception):
    """Too many turns went unscored for reasons that are not theirs.

    `permanent`: asking again would end the same way, as with a wrong key.
    """

    def __init__(self, text: str, *, permanent: bool = False) -> None:
        super().__init__(text)
        self.text = text
        self.permanent = permanent


class TurnScore(msgspec.Struct, frozen=True):
    """One score, and why it is so, or why there is none."""

    score: float | None
    reason: str = ""


def note_scores(trajectory: Trajectory, scored: Sequence[TurnScore]) -> list[float | None]:
    """Keep them with their reasons in `grading["turn_scores"]`, for those who look."""
    trajectory.grading["turn_scores"] = [msgspec.to_builtins(one) for one in scored]
    return [one.score for one in scored]


def unscored(trajectories: Sequence[Trajectory]) -> Scores:
    return {member.uid: [None] * len(member.turns) for member in trajectories}


def check_outage(causes: Sequence[str], total: int, what: str, *, permanent: bool = False) -> None:
    """Raise where more than half of `total` were lost; `what` names them, as `turns`."""
    if len(causes) > OUTAGE_SHARE * total:
        cause, _ = Counter(causes).most_common(1)[0]
        raise TurnScoresOutage(
            f"More than half of {total} {what} failed, most often: {cause.rstrip('.')}.",
            permanent=permanent,
        )


class GraderTurnScores(GraderRuns):
    """Any grader, with one turn as its sample."""

    async def score(self, trajectories: Sequence[Trajectory], tasks: Mapping[int, Task]) -> Scores:
        scores = unscored(trajectories)
        visits = [
            (member, turn.index)
            for member in trajectories
            if is_graded(member)
            for turn in member.turns
        ]
        results = await asyncio.gather(
            *(self._grade_turn(member, index, tasks[member.row]) for member, index in visits)
        )
        faults = [r.message for r in results if isinstance(r, GradingError) and r.infra]
        check_outage(faults, len(visits), "gradings of turns")
        by_uid: dict[str, list[TurnScore]] = {}
        for (member, _), result in zip(visits, results, strict=True):
            by_uid.setdefault(member.uid, []).append(_as_score(result))
        for member in trajectories:
            if member.uid in by_uid:
                scores[member.uid] = note_scores(member, by_uid[member.uid])
        return scores

    async def _grade_turn(
        self, trajectory: Trajectory, index: int, task: Task
    ) -> float | GradingError:
        sample = make_turn_sample(trajectory, index, self._response_format)
        return reward_or_error(await self._grade_with_retries(sample, task))


def _as_score(result: float | GradingError) -> TurnScore:
    if isinstance(result, GradingError):
        return TurnScore(None, f"{result.code}: {result.message}")
    return TurnScore(result)
