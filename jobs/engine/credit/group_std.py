"""Mean-centred rewards over the group's sample standard deviation (GRPO)."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

EPSILON = 1e-6


def group_std(rewards: Sequence[float]) -> list[float]:
    mean = sum(rewards) / len(rewards)
    spread = statistics.stdev(rewards, mean) + EPSILON
    return [(reward - mean) / spread for reward in rewards]
