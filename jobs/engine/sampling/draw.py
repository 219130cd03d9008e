"""Draws tokens from logits with each row's own random numbers.

Legend: N rows, V vocabulary, T tokens of a turn.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

FloatArray = npt.NDArray[np.float64]
_MASK_64 = (1 << 64) - 1


def uniforms(seed: int, count: int) -> FloatArray:
    """The random numbers of one turn: they depend on the seed alone, not on the batch."""
    generator = np.random.Generator(np.random.Philox(key=seed & _MASK_64))
    return generator.random(count)


def draw(
    logits_NV: torch.Tensor, temperatures_N: torch.Tensor, uniforms_N: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Tokens by inverse CDF, with log-probability and entropy of the distribution drawn from.

    A temperature of 0 takes the likeliest token and reports the plain distribution.
    """
    greedy_N = temperatures_N == 0
    scale_N = torch.where(greedy_N, torch.ones_like(temperatures_N), temperatures_N)
    logprobs_NV = torch.log_softmax(logits_NV.float() / scale_N[:, None], dim=-1)
    probs_NV = logprobs_NV.exp()
    terms_NV = torch.where(probs_NV > 0, probs_NV * logprobs_NV, torch.zeros_like(probs_NV))
    cdf_NV = probs_NV.double().cumsum(dim=-1)
    target_N1 = uniforms_N[:, None] * cdf_NV[:, -1:]
    tokens_N = torch.searchsorted(cdf_NV, target_N1, right=True)[:, 0]
    tokens_N.clamp_(max=logits_NV.shape[1] - 1)
    if bool(greedy_N.any()):
        tokens_N = torch.where(greedy_N, logprobs_NV.argmax(dim=-1), tokens_N)
    chosen_N = logprobs_NV.gather(1, tokens_N[:, None])[:, 0]
    return tokens_N, chosen_N, -terms_NV.sum(dim=-1)
