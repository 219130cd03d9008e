"""Reward minus the mean of the other members (REINFORCE leave-one-out)."""

from __future__ import annotations

from collections.abc import Sequence


def rloo(rewards: Sequence[float]) -> list[float]:
    total, n = sum(rewards), len(rewards)
    return [reward - (total - reward) / (n - 1) for reward in rewards]
