"""Groups of rollouts of one task: which carry a learning signal, and their advantages."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from jobs.engine.credit.base import Estimator, is_graded
from jobs.engine.types import Trajectory

SPREAD_MIN = 1e-6
"""Rewards closer together than this are the same reward."""


class Signal(StrEnum):
    """What a group can teach."""

    WITH_SIGNAL = "with_signal"
    ALL_SOLVED = "all_solved"
    ALL_FAILED = "all_failed"
    SAME_REWARD = "same_reward"
    TOO_SMALL = "too_small"


@dataclass(frozen=True, slots=True)
class Group:
    """The rollouts of one task in one step. `round` 0 is the first draw, later ones are refills."""

    id: str
    members: tuple[Trajectory, ...]
    round: int = 0

    @property
    def graded(self) -> list[Trajectory]:
        return [member for member in self.members if is_graded(member)]


def group_signal(rewards: Sequence[float]) -> Signal:
    """Solved means the best reward of the usual scale, 1; failed means 0 or less."""
    if len(rewards) < 2:
        return Signal.TOO_SMALL
    if max(rewards) - min(rewards) > SPREAD_MIN:
        return Signal.WITH_SIGNAL
    if min(rewards) >= 1 - SPREAD_MIN:
        return Signal.ALL_SOLVED
    if max(rewards) <= SPREAD_MIN:
        return Signal.ALL_FAILED
    return Signal.SAME_REWARD


def training_rewards(groups: Sequence[Group], *, shuffle_seed: str | None) -> dict[str, float]:
    """The reward that each graded rollout trains with, by uid.

    With a seed, the rewards are permuted across all graded rollouts: the control in which
    nothing can be learnt. What is stored stays the true reward.
    """
    graded = [member for group in groups for member in group.graded]
    rewards = [float(member.reward or 0.0) for member in graded]
    if shuffle_seed is not None:
        random.Random(shuffle_seed).shuffle(rewards)
    return {member.uid: reward for member, reward in zip(graded, rewards, strict=True)}


def assign_credit(
    groups: Sequence[Group], rewards: dict[str, float], estimator: Estimator
) -> dict[Signal, int]:
    """Set `advantage` and `trained` on every member; count the groups by signal."""
    counts = dict.fromkeys(Signal, 0)
    teaching: list[list[Trajectory]] = []
    for group in groups:
        for member in group.members:
            member.advantage, member.trained = None, False
        graded = group.graded
        signal = group_signal([rewards[member.uid] for member in graded])
        counts[signal] += 1
        if signal is Signal.WITH_SIGNAL:
            teaching.append(graded)
    own = [[rewards[member.uid] for member in graded] for graded in teaching]
    tokens = [[member.trained_tokens for member in graded] for graded in teaching]
    for graded, advantages in zip(teaching, estimator(own, tokens), strict=True):
        for member, advantage in zip(graded, advantages, strict=True):
            member.advantage, member.trained = advantage, True
    return counts
