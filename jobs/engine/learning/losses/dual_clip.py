"""Dual-clip PPO: the clipped ratio, and for a negative advantage an objective of at least c·A."""

from __future__ import annotations

import torch
from torch import Tensor

from jobs.engine.learning.losses.ppo_clip import ppo_clip

FLOOR = 3.0


def dual_clip(
    logprobs_N: Tensor,
    anchor_N: Tensor,
    advantages_N: Tensor,
    *,
    ratio_max: float,
    owner_N: Tensor,
    weight: float,
) -> Tensor:
    terms_N = ppo_clip(
        logprobs_N, anchor_N, advantages_N, ratio_max=ratio_max, owner_N=owner_N, weight=weight
    )
    # PPO leaves the ratio of a bad token open above: one that has grown likely would dominate.
    bounded_N = torch.minimum(terms_N, -FLOOR * advantages_N)
    return torch.where(advantages_N < 0, bounded_N, terms_N)
