"""CISPO: the importance ratio is clipped to [0, ratio_max] and held constant."""

from __future__ import annotations

import torch
from torch import Tensor

from jobs.engine.learning.losses.base import LossInputs, importance_ratio


def cispo(inputs: LossInputs) -> Tensor:
    ratio_N = importance_ratio(inputs.logprobs_N, inputs.anchor_N).detach()
    clipped_N = torch.clamp(ratio_N, 0.0, inputs.ratio_max)
    return -clipped_N * inputs.advantages_N * inputs.logprobs_N
