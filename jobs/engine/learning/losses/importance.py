"""Plain importance sampling: the unclipped ratio times the advantage."""

from __future__ import annotations

from torch import Tensor

from jobs.engine.learning.losses.base import LossInputs, importance_ratio


def importance_sampling(inputs: LossInputs) -> Tensor:
    """`ratio_max` is not used: this loss clips nothing."""
    return -importance_ratio(inputs.logprobs_N, inputs.anchor_N) * inputs.advantages_N
