"""The contract of an advantage estimator, and who takes part in one."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from jobs.engine.types import FAULTS, Trajectory

Estimator = Callable[[Sequence[Sequence[float]], Sequence[Sequence[int]]], list[list[float]]]
"""Of all groups with signal at once: rewards of the graded members (two or more a group) and their
trained tokens in, one advantage each out. Pure."""

GroupEstimator = Callable[[Sequence[float]], list[float]]
"""The same of one group, which needs to know no other and no token counts."""


def per_group(estimate: GroupEstimator) -> Estimator:
    def estimate_all(
        rewards: Sequence[Sequence[float]], tokens: Sequence[Sequence[int]]
    ) -> list[list[float]]:
        return [estimate(own) for own in rewards]

    return estimate_all


def is_graded(trajectory: Trajectory) -> bool:
    """A faulted rollout has no reward, whatever its field holds; nor has a non-finite one."""
    return (
        trajectory.stop not in FAULTS
        and trajectory.reward is not None
        and math.isfinite(trajectory.reward)
    )
