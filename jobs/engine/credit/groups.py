"""Groups of rollouts of one task: which carry a signal, and the rewards that they train with."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from jobs.engine.credit.base import is_graded
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
