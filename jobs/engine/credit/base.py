"""The contract of an advantage estimator, and who takes part in one."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from jobs.engine.types import FAULTS, Trajectory

Estimator = Callable[[Sequence[float]], list[float]]
"""Rewards of one group's graded members (two or more) in, one advantage each out. Pure."""


def is_graded(trajectory: Trajectory) -> bool:
    """A faulted rollout has no reward, whatever its field holds; nor has a non-finite one."""
    return (
        trajectory.stop not in FAULTS
        and trajectory.reward is not None
        and math.isfinite(trajectory.reward)
    )
