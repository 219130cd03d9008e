"""CISPO: the importance ratio is clipped to [0, ratio_max] and held constant."""

from __future__ import annotations

import torch
from torch import Tensor

from jobs.engine.learning.losses.base import importance_ratio


def cispo(
    logprobs_N: Tensor,
    anchor_N: Tensor,
    advantages_N: Tensor,
    *,
    ratio_max: float,
    owner_N: Tensor,
    weight: float,
) -> Tensor:
    clipped_N = torch.clamp(importance_ratio(logprobs_N, anchor_N).detach(), 0.0, ratio_max)
    return -clipped_N * advantages_N * logprobs_N
