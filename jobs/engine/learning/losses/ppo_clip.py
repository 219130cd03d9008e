"""PPO's clipped ratio with the asymmetric bounds of DAPO: [0.8, 1.28]."""

from __future__ import annotations

import torch
from torch import Tensor

from jobs.engine.learning.losses.base import LossInputs, importance_ratio
from jobs.engine.learning.losses.bounds import CLIP_HIGH, CLIP_LOW


def ppo_clip(inputs: LossInputs) -> Tensor:
    ratio_N = importance_ratio(inputs.logprobs_N, inputs.anchor_N)
    ratio_N = torch.clamp(ratio_N, max=inputs.ratio_max)
    clipped_N = torch.clamp(ratio_N, 1 - CLIP_LOW, 1 + CLIP_HIGH)
    return -torch.minimum(ratio_N * inputs.advantages_N, clipped_N * inputs.advantages_N)
