"""Dual-clip PPO: the clipped ratio, and for a negative advantage an objective of at least c·A."""

from __future__ import annotations

import torch
from torch import Tensor

from jobs.engine.learning.losses.base import LossInputs
from jobs.engine.learning.losses.ppo_clip import ppo_clip

FLOOR = 3.0


def dual_clip(inputs: LossInputs) -> Tensor:
    terms_N, advantages_N = ppo_clip(inputs), inputs.advantages_N
    # PPO leaves the ratio of a bad token open above: one that has grown likely would dominate.
    bounded_N = torch.minimum(terms_N, -FLOOR * advantages_N)
    return torch.where(advantages_N < 0, bounded_N, terms_N)
