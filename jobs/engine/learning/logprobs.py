"""Log-probabilities and entropies of the trained tokens alone, projected in chunks.

Shapes: B = rollouts, T = tokens, D = hidden size, V = vocabulary, N = trained tokens.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from jobs.engine.learning.tree import TreeBatch, tree_masks

LOGITS_MAX = 1 << 25
"""Most logits that are alive at once: 128 MB in fp32."""

SCALED_HEADS = ("final_logit_softcapping", "logits_scaling", "logit_scale")
"""Settings of models whose logits are more than a projection of the hidden state."""


def token_logprobs(
    model: Any, ids_BT: Tensor, mask_BT: Tensor, *, temperature: float
) -> tuple[Tensor, Tensor]:
    """Log-probability and entropy of each token that `mask_BT` marks, row by row.

    Both are of `logits / temperature`, as in the samplers. The entropy carries no gradient.
    """
    before_BT = torch.zeros_like(mask_BT)
    before_BT[:, :-1] = mask_BT[:, 1:]
    causal = model.get_base_model()
    return _scored(causal, {"input_ids": ids_BT}, before_BT, ids_BT[mask_BT], temperature)


def tree_logprobs(model: Any, batch: TreeBatch, *, temperature: float) -> tuple[Tensor, Tensor]:
    """The same for a packed tree: [N] and [N], each shared token once for each of its owners."""
    causal = model.get_base_model()
    blocks = batch.ids_T.device.type == "cuda" and bool(causal._supports_flex_attn)
    inputs = {
        "input_ids": batch.ids_T[None],
        "position_ids": batch.positions_T[None],
        "attention_mask": tree_masks(causal.config, batch, blocks=blocks, dtype=causal.dtype),
    }
    before = (torch.zeros_like(batch.pred_N), batch.pred_N)
    with _flex_attention(causal) if blocks else nullcontext():
        return _scored(causal, inputs, before, batch.targets_N, temperature)


@contextmanager
def _flex_attention(causal: Any) -> Iterator[None]:
    """Block masks need FlexAttention; the samplers' masks need what the model had before."""
    usual = causal.config._attn_implementation
    causal.set_attn_implementation("flex_attention")
    try:
        yield
    finally:
        causal.set_attn_implementation(usual)


def _scored(
    causal: Any,
    inputs: dict[str, Any],
    before: Tensor | tuple[Tensor, Tensor],
    targets_N: Tensor,
    temperature: float,
) -> tuple[Tensor, Tensor]:
    """`before` picks, from [B, T, ...], the N places that predict the targets."""
    if any(getattr(causal.config, name, None) for name in SCALED_HEADS):
        logits_NV = causal(**inputs, use_cache=False).logits[before]
        return _from_logits(logits_NV, targets_N, temperature)
    decoder, head = causal.get_decoder(), causal.get_output_embeddings()
    hidden_ND = decoder(**inputs, use_cache=False).last_hidden_state[before]
    return _projected(head, hidden_ND, targets_N, temperature)


def _projected(
    head: torch.nn.Module, hidden_ND: Tensor, targets_N: Tensor, temperature: float
) -> tuple[Tensor, Tensor]:
    vocabulary = int(getattr(head, "out_features", 1 << 17))
    chunk = max(1, LOGITS_MAX // vocabulary)

    def score(part_ND: Tensor, part_N: Tensor) -> tuple[Tensor, Tensor]:
        return _from_logits(head(part_ND), part_N, temperature)

    if len(targets_N) <= chunk:
        return score(hidden_ND, targets_N)
    parts = zip(torch.split(hidden_ND, chunk), torch.split(targets_N, chunk), strict=True)
    scored = [checkpoint(score, part_ND, part_N, use_reentrant=False) for part_ND, part_N in parts]
    return torch.cat([part[0] for part in scored]), torch.cat([part[1] for part in scored])


def _from_logits(logits_NV: Tensor, targets_N: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    scaled_NV = logits_NV.float()
    if temperature != 1.0:
        scaled_NV = scaled_NV / temperature
    logprobs_NV = torch.log_softmax(scaled_NV, dim=-1)
    with torch.no_grad():
        # A token whose probability is exactly 0 adds nothing, and 0 * -inf would be NaN.
        entropy_N = torch.special.entr(logprobs_NV.exp()).sum(-1)
    return logprobs_NV.gather(-1, targets_N[:, None]).squeeze(-1), entropy_N
