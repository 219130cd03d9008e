"""How far the policy has moved from its base model, a token at a time: the k3 estimate."""

from __future__ import annotations

import torch
from torch import Tensor

from jobs.engine.learning.losses.base import log_ratio


def base_kl(logprobs_N: Tensor, base_N: Tensor) -> Tensor:
    """b/p - log(b/p) - 1, with p of the policy and b of the base model.

    It is never negative; its mean over the policy's own tokens is KL(policy, base), and the mean
    of its gradient, 1 - b/p times that of log p, is that of KL(base, policy).
    """
    log_ratio_N = log_ratio(base_N, logprobs_N)
    return torch.expm1(log_ratio_N) - log_ratio_N
