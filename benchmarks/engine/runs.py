"""What one side reports of its steps and of its training."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Work:
    """One training step, or the median of several. Tokens and calls are means a rollout."""

    rollouts: int
    rollout_s: float
    step_s: float
    sampled_tokens: float
    tool_calls: float
    reward: float
    peak_bytes: int

    @property
    def rollout_ms(self) -> float:
        """Milliseconds a trajectory."""
        return 1000 * self.rollout_s / self.rollouts


@dataclass(frozen=True)
class Goal:
    """A validation reward, evaluated every so many steps, and how long to try."""

    reward: float
    limit_s: float
    every: int
    steps: int


@dataclass(frozen=True)
class ToTarget:
    """A training run until a validation reward; `seconds` is the limit where it stayed below."""

    reached: bool
    seconds: float
    step: int
    curve: list[tuple[int, float, float]]
    """Step, seconds so far, validation reward."""

    @property
    def best(self) -> float:
        return max((reward for _, _, reward in self.curve), default=0.0)


def middle(works: Sequence[Work]) -> Work:
    """Medians of the times; means of what was done, because steps have different tasks."""

    def times(pick: Callable[[Work], float]) -> float:
        return statistics.median(map(pick, works))

    def mean(pick: Callable[[Work], float]) -> float:
        return statistics.fmean(map(pick, works))

    return Work(
        rollouts=works[0].rollouts,
        rollout_s=times(lambda work: work.rollout_s),
        step_s=times(lambda work: work.step_s),
        sampled_tokens=mean(lambda work: work.sampled_tokens),
        tool_calls=mean(lambda work: work.tool_calls),
        reward=mean(lambda work: work.reward),
        peak_bytes=max(work.peak_bytes for work in works),
    )
