"""Plain importance sampling: the unclipped ratio times the advantage."""

from __future__ import annotations

from torch import Tensor

from jobs.engine.learning.losses.base import importance_ratio


def importance_sampling(
    logprobs_N: Tensor,
    anchor_N: Tensor,
    advantages_N: Tensor,
    *,
    ratio_max: float,
    owner_N: Tensor,
    weight: float,
) -> Tensor:
    """`ratio_max` is not used: this loss clips nothing."""
    return -importance_ratio(logprobs_N, anchor_N) * advantages_N
