"""Mean-centred rewards over the group's mean (MaxRL): a task weighs about 1 / its pass rate."""

from __future__ import annotations

from collections.abc import Sequence


def maxrl(rewards: Sequence[float]) -> list[float]:
    mean = sum(rewards) / len(rewards)
    if mean <= 0:
        # No pass rate to divide by; a negative one would turn the signs around.
        return [0.0] * len(rewards)
    return [(reward - mean) / mean for reward in rewards]
