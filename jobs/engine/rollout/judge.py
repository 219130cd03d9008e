"""A judge as the source of turn scores: one question a rollout."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from graders.kinds.judging.chat import UnusableReply
from graders.kinds.judging.judges import Judges
from hone.core.net.line import NoAnswer
from jobs.engine.credit.base import is_graded
from jobs.engine.rollout.judge_wire import read_scores, turn_question
from jobs.engine.rollout.turn_rewards import (
    Scores,
    TurnScore,
    check_outage,
    note_scores,
    unscored,
)
from jobs.engine.spec import JudgeSpec
from jobs.engine.types import Task, Trajectory

Judged = list[TurnScore] | NoAnswer


class JudgeTurnScores:
    """The judge of turns of one job."""

    def __init__(self, spec: JudgeSpec, judges: Judges) -> None:
        self._spec = spec
        self._judges = judges

    async def score(self, trajectories: Sequence[Trajectory], tasks: Mapping[int, Task]) -> Scores:
        """Raises TurnScoresOutage as soon as more than half of the requests are lost."""
        asked = [member for member in trajectories if member.turns and is_graded(member)]
        asking = [asyncio.ensure_future(self._judged(one, tasks[one.row])) for one in asked]
        lost: list[NoAnswer] = []
        try:
            for finished in asyncio.as_completed(asking):
                result = await finished
                if isinstance(result, NoAnswer):
                    lost.append(result)
                    outages = [loss.reason for loss in lost if loss.is_outage]
                    check_outage(outages, len(asked), "requests to the judge")
        finally:
            for one in asking:
                one.cancel()
            await asyncio.gather(*asking, return_exceptions=True)
        causes = [loss.reason for loss in lost if loss.is_outage or loss.loss == "refused"]
        permanent = not any(loss.is_outage for loss in lost)
        check_outage(causes, len(asked), "requests to the judge", permanent=permanent)
        scores = unscored(trajectories)
        for member, one in zip(asked, asking, strict=True):
            scores[member.uid] = note_scores(member, _per_turn(one.result(), len(member.turns)))
        return scores

    async def _judged(self, trajectory: Trajectory, task: Task) -> Judged:
        question = turn_question(self._spec, trajectory, task)
        try:
            reply = await self._judges.ask(self._spec.model, question)
            return read_scores(reply.document(), len(trajectory.turns))
        except NoAnswer as loss:
            return loss
        except UnusableReply as error:
            return NoAnswer("unusable", error.reason)


def _per_turn(result: Judged, turns: int) -> list[TurnScore]:
    if isinstance(result, NoAnswer):
        return [TurnScore(None, result.reason)] * turns
    return result
