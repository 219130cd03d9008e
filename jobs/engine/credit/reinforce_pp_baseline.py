"""Reward minus the group's mean, whitened over the tokens of the batch (REINFORCE++-baseline)."""

from __future__ import annotations

import math
from collections.abc import Sequence

from jobs.engine.credit.mean_centred import mean_centred

EPSILON = 1e-8


def reinforce_pp_baseline(
    rewards: Sequence[Sequence[float]], tokens: Sequence[Sequence[int]]
) -> list[list[float]]:
    """A member weighs as much as it has trained tokens; one without any has advantage 0."""
    centred = [mean_centred(own) for own in rewards]
    pairs = [
        pair
        for own, counts in zip(centred, tokens, strict=True)
        for pair in zip(own, counts, strict=True)
    ]
    total = max(1, sum(count for _, count in pairs))
    mean = sum(value * count for value, count in pairs) / total
    variance = sum((value - mean) ** 2 * count for value, count in pairs) / total
    spread = math.sqrt(variance) + EPSILON
    return [
        # Without tokens it was in neither the mean nor the spread, and could be any size.
        [
            (value - mean) / spread if count else 0.0
            for value, count in zip(own, counts, strict=True)
        ]
        for own, counts in zip(centred, tokens, strict=True)
    ]
