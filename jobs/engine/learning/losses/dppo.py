"""DPPO: a token is dropped once its probability itself, not its ratio, has moved too far.

Loss = -r·A·keep + 1e-3·(log r)². Dropped are pi - mu > 0.2 where A > 0, and < -0.2 where A < 0.
"""

from __future__ import annotations

import torch
from torch import Tensor

from jobs.engine.learning.losses.base import LossInputs, importance_ratio

MOVE_MAX = 0.2
PULL = 1e-3


def dppo(inputs: LossInputs) -> Tensor:
    """`ratio_max` is not used: a rare token may have a large ratio and yet hardly have moved."""
    logprobs_N, anchor_N, advantages_N = inputs.logprobs_N, inputs.anchor_N, inputs.advantages_N
    moved_N = (logprobs_N.exp() - anchor_N.exp()).detach()
    drop_N = torch.where(advantages_N > 0, moved_N > MOVE_MAX, moved_N < -MOVE_MAX)
    gain_N = importance_ratio(logprobs_N, anchor_N) * advantages_N
    # A dropped token is still pulled back; so is one beyond ±20, where the ratio has no gradient.
    pull_N = PULL * inputs.weight * (logprobs_N - anchor_N).square()
    return pull_N - gain_N.masked_fill(drop_N, 0.0)
