"""What is known of single turns beyond the reward: gathered after the rollouts, before credit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jobs.engine.continuations import Continuations, note_measured
from jobs.engine.credit.assign import groups_with
from jobs.engine.credit.groups import Group, Signal, training_rewards
from jobs.engine.errors import RunFailed, RunPaused
from jobs.engine.ranks import Ending, Ranks, as_ending, own_share
from jobs.engine.reporting import EventWriter
from jobs.engine.rollout.turn_rewards import TurnScores, TurnScoresOutage
from jobs.engine.spec import CreditSpec
from jobs.engine.types import Task, Trajectory


class Evidence:
    """The sources of one job; a job without any costs nothing here.

    Only rollouts of groups whose rewards differ are asked about, as only those train.
    """

    def __init__(
        self,
        credit: CreditSpec,
        task_of: Callable[[Trajectory], Task],
        writer: EventWriter,
        ranks: Ranks,
        *,
        scores: TurnScores | None = None,
        continuations: Continuations | None = None,
    ) -> None:
        self._credit = credit
        self._task_of = task_of
        self._writer = writer
        self._ranks = ranks
        self._scores = scores
        self._continuations = continuations

    async def gather(self, groups: Sequence[Group], step: int) -> dict[str, Any]:
        """Writes `score` and `measured` into the turns; returns what it cost, for metrics."""
        rewards = training_rewards(groups, shuffle_seed=None)
        teaching = groups_with(Signal.WITH_SIGNAL, groups, rewards)
        members = [member for graded in teaching for member in graded]
        told: dict[str, Any] = {}
        if self._scores is not None and members:
            await self._note_scores(self._scores, members)
            scores = [turn.score for member in members for turn in member.turns]
            missing = sum(score is None for score in scores)
            told |= {"turns_scored": len(scores) - missing, "turns_unscored": missing}
        if self._continuations is not None and self._credit.counterfactual and members:
            # Whole groups: what an ungraded sibling saw may contradict the record.
            everybody = [member for group in groups for member in group.members]
            estimate = await self._continuations.estimate(
                self._credit.counterfactual, everybody, step
            )
            note_measured(everybody, estimate)
            told |= {f"continuations_{name}": value for name, value in estimate.cost.items()}
            if estimate.failure:
                self._writer.warn("continuations_failed", estimate.failure)
        return told

    async def _note_scores(self, source: TurnScores, members: Sequence[Trajectory]) -> None:
        """Each rank has its own groups scored, and all learn of all scores."""
        own = own_share(self._ranks, members)
        tasks: Mapping[int, Task] = {member.row: self._task_of(member) for member in own}
        failure: Ending | None = None
        try:
            scores = await source.score(own, tasks)
            for member in own:
                for turn, score in zip(member.turns, scores[member.uid], strict=True):
                    turn.score = score
        except TurnScoresOutage as outage:
            failure = _ending(outage)
        except Exception as error:
            if not self._ranks.index:
                raise
            failure = as_ending(error)
        scored = {member.uid: member for member in await self._ranks.gather(own, failure)}
        for member in members:
            found = scored[member.uid]
            member.grading = found.grading
            for turn, other in zip(member.turns, found.turns, strict=True):
                turn.score = other.score


def _ending(outage: TurnScoresOutage) -> Ending:
    """A wrong key stays wrong; all else passes, and the job waits for it."""
    if outage.permanent:
        return RunFailed("turn_scores_failed", outage.text)
    return RunPaused(
        "grader_unavailable",
        f"{outage.text} Nothing of this step was trained. The job goes on by itself when the "
        "source of turn scores answers again.",
    )
