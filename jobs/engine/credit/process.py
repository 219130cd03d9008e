"""Credit from scores of single turns (GTPO and IGPO, reference 2.1 and 2.3). Torch-free."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TypeGuard

from jobs.engine.credit.anchored import Visit, anchors_of
from jobs.engine.credit.base import is_graded
from jobs.engine.types import Trajectory

TurnRewards = Sequence[float | None]
"""One per turn. None (or a number that is not finite): unscored."""


def process_credit(
    trajectories: Sequence[Trajectory],
    turn_rewards: Mapping[str, TurnRewards],
    *,
    gamma: float = 1.0,
    complete: bool = True,
) -> dict[str, list[float]]:
    """GTPO's returns-to-go minus a baseline, by uid, of the graded trajectories.

    The baseline is the mean of the siblings in the same state, else of all the group's turns. It
    is not the mean at the same turn index (as IGPO's code has it): only the rollouts that went on
    have a turn of that index, so that going on would be judged among those who went on and never
    against stopping. Unscored turns get 0 and are in no mean.

    `complete`: every turn was to be scored, so that a missing score is an error, and what the turns
    before it led to is not known either. Off where a source scores some turns only.
    """
    graded = [trajectory for trajectory in trajectories if is_graded(trajectory)]
    returns = _scored_returns(graded, turn_rewards, gamma, complete=complete)
    baselines = _baselines(graded, returns)
    return {
        member.uid: [
            returns[visit] - baselines[visit] if visit in returns else 0.0
            for visit in ((member.uid, turn) for turn in range(len(member.turns)))
        ]
        for member in graded
    }


def returns_to_go(rewards: TurnRewards, gamma: float) -> list[float]:
    """sum over k >= t of gamma^(k - t) * r_k; an unscored turn adds nothing."""
    out: list[float] = []
    ahead = 0.0
    for reward in reversed(rewards):
        ahead = (reward if _is_scored(reward) else 0.0) + gamma * ahead
        out.append(ahead)
    return out[::-1]


def information_gain(logprobs_of_gold_by_turn: Sequence[Sequence[float]]) -> list[float]:
    """IGPO: r_t = exp(mean logp(gold | hist_t)) - exp(mean logp(gold | hist_{t-1})).

    Entry 0 is given the prompt alone, entry t + 1 the history up to and with turn t: one reward
    fewer than entries. IGPO scores the answering turn otherwise, as its history holds the answer.
    """
    if any(not logprobs for logprobs in logprobs_of_gold_by_turn):
        raise ValueError("the gold answer has no tokens")
    likely = [math.exp(statistics.fmean(logprobs)) for logprobs in logprobs_of_gold_by_turn]
    return [after - before for before, after in zip(likely, likely[1:], strict=False)]


def _is_scored(reward: float | None) -> TypeGuard[float]:
    return reward is not None and math.isfinite(reward)


def _scored_returns(
    members: Sequence[Trajectory],
    turn_rewards: Mapping[str, TurnRewards],
    gamma: float,
    *,
    complete: bool,
) -> dict[Visit, float]:
    returns: dict[Visit, float] = {}
    for member in members:
        own = turn_rewards.get(member.uid, [None] * len(member.turns))
        if len(own) != len(member.turns):
            raise ValueError(f"{member.uid}: {len(own)} rewards for {len(member.turns)} turns")
        missing = [turn for turn, reward in enumerate(own) if not _is_scored(reward)]
        first = missing[-1] + 1 if complete and missing else 0
        for turn, ahead in enumerate(returns_to_go(own, gamma)):
            if turn >= first and _is_scored(own[turn]):
                returns[member.uid, turn] = ahead
    return returns


def _baselines(members: Sequence[Trajectory], returns: Mapping[Visit, float]) -> dict[Visit, float]:
    """Anchors are sought among scored turns: a state that one rollout was scored in is no
    comparison."""
    group_of = {member.uid: member.group for member in members}
    by_group: dict[str, list[float]] = defaultdict(list)
    for (uid, _), value in returns.items():
        by_group[group_of[uid]].append(value)
    means = {group: statistics.fmean(values) for group, values in by_group.items()}
    baselines = {visit: means[group_of[visit[0]]] for visit in returns}
    for visits in anchors_of(members, returns).values():
        mean = statistics.fmean(returns[visit] for visit in visits)
        baselines.update(dict.fromkeys(visits, mean))
    return baselines
