"""The contract of a policy loss: per-token terms whose plain sum is the loss of a step.

Shapes: N = trained tokens of a micro-batch, S = its rollouts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

LOG_RATIO_MAX = 20.0


@dataclass(frozen=True, slots=True)
class LossInputs:
    """What a loss may look at, of one micro-batch.

    `anchor_N` holds the rollout's log-probabilities. `advantages_N` are already divided by the
    tokens of the whole optimiser step; `weight` is 1 / that number, and belongs on each term that
    has no advantage as a factor, so that micro-batches stay plain sums. `owner_N` tells the
    rollouts apart, by any integers; a rollout is never split over micro-batches.
    """

    logprobs_N: Tensor
    anchor_N: Tensor
    advantages_N: Tensor
    owner_N: Tensor
    ratio_max: float
    weight: float


PolicyLoss = Callable[[LossInputs], Tensor]
"""Pure: the terms, [N]."""


@dataclass(frozen=True, slots=True)
class Loss:
    """`pulls`: tokens of advantage 0 have a gradient too, so none may be left out."""

    terms: PolicyLoss
    pulls: bool = False


def log_ratio(logprobs_N: Tensor, anchor_N: Tensor) -> Tensor:
    """Held within ±20, so that its exponential is finite."""
    return torch.clamp(logprobs_N - anchor_N, -LOG_RATIO_MAX, LOG_RATIO_MAX)


def importance_ratio(logprobs_N: Tensor, anchor_N: Tensor) -> Tensor:
    """Policy over rollout probability."""
    return torch.exp(log_ratio(logprobs_N, anchor_N))
