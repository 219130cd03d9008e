"""PPO's clipped ratio with the asymmetric bounds of DAPO: [0.8, 1.28]."""

from __future__ import annotations

import torch
from torch import Tensor

from jobs.engine.learning.losses.base import importance_ratio

CLIP_LOW = 0.2
CLIP_HIGH = 0.28


def ppo_clip(
    logprobs_N: Tensor,
    anchor_N: Tensor,
    advantages_N: Tensor,
    *,
    ratio_max: float,
    owner_N: Tensor,
    weight: float,
) -> Tensor:
    ratio_N = torch.clamp(importance_ratio(logprobs_N, anchor_N), max=ratio_max)
    clipped_N = torch.clamp(ratio_N, 1 - CLIP_LOW, 1 + CLIP_HIGH)
    return -torch.minimum(ratio_N * advantages_N, clipped_N * advantages_N)
