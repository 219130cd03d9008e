"""Reward minus the group's mean: no division by the spread, so no bias by difficulty."""

from __future__ import annotations

from collections.abc import Sequence


def mean_centred(rewards: Sequence[float]) -> list[float]:
    mean = sum(rewards) / len(rewards)
    return [reward - mean for reward in rewards]
