"""The contract of a policy loss: per-token terms whose plain sum is the loss of a step.

Shapes: N = trained tokens of a micro-batch, S = its rollouts.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

LOG_RATIO_MAX = 20.0


class PolicyLoss(Protocol):
    """Pure. `advantages_N` are already divided by the tokens of the whole optimiser step."""

    def __call__(
        self,
        logprobs_N: Tensor,
        anchor_N: Tensor,
        advantages_N: Tensor,
        *,
        ratio_max: float,
        owner_N: Tensor,
        weight: float,
    ) -> Tensor:
        """Per-token terms; `anchor_N` holds the rollout's log-probabilities.

        `owner_N` tells the rollouts apart, by any integers; a rollout is never split over
        micro-batches. `weight` is 1 / tokens of the whole optimiser step: it belongs on each term
        that has no advantage as a factor, so that micro-batches stay plain sums.
        """
        ...


def importance_ratio(logprobs_N: Tensor, anchor_N: Tensor) -> Tensor:
    """Policy over rollout probability; its logarithm is held within ±20 so that it is finite."""
    return torch.exp(torch.clamp(logprobs_N - anchor_N, -LOG_RATIO_MAX, LOG_RATIO_MAX))
