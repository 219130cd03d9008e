"""GSPO in its token form: one ratio for a whole rollout, s = exp(mean of log r), clipped closely.

Each token has s_t = sg(s)·pi/sg(pi): the value of s, and the gradient of its own log-probability.
Terms are averaged over the tokens of the step, as in all losses here, not first over each rollout.
"""

from __future__ import annotations

import torch
from torch import Tensor

from jobs.engine.learning.losses.base import LossInputs

CLIP_LOW = 3e-4
CLIP_HIGH = 4e-4
LOG_MAX = 10.0


def gspo(inputs: LossInputs) -> Tensor:
    """`ratio_max` is not used: it bounds a token's ratio, and this is a rollout's."""
    fixed_N = inputs.logprobs_N.detach()
    means_N = _rollout_means(fixed_N - inputs.anchor_N, inputs.owner_N)
    log_s_N = means_N + inputs.logprobs_N - fixed_N
    s_N = torch.exp(torch.clamp(log_s_N, max=LOG_MAX))
    clipped_N = torch.clamp(s_N, 1 - CLIP_LOW, 1 + CLIP_HIGH)
    return -torch.minimum(s_N * inputs.advantages_N, clipped_N * inputs.advantages_N)


def _rollout_means(values_N: Tensor, owner_N: Tensor) -> Tensor:
    """Each token's value becomes the mean over its rollout's trained tokens."""
    _, place_N, count_S = torch.unique(owner_N, return_inverse=True, return_counts=True)
    sums_S = values_N.new_zeros(len(count_S)).index_add(0, place_N, values_N)
    means_N: Tensor = (sums_S / count_S)[place_N]
    return means_N
