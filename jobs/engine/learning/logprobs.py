"""Log-probabilities and entropies of the trained tokens alone, projected in chunks.

Shapes: B = rollouts, T = tokens, D = hidden size, V = vocabulary, N = trained tokens,
U = those of a tree, each once.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from jobs.engine.learning.last_layer import can_choose_places, last_layer_at
from jobs.engine.learning.packing import MicroBatch
from jobs.engine.learning.tree import FLEX_ATTENTION, TreeBatch, tree_masks
from jobs.engine.learning.tree_attention import TREE_ATTENTION

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
    attention = _attention_of_trees(causal, batch.ids_T.device)
    inputs = {
        "input_ids": batch.ids_T[None],
        "position_ids": batch.positions_T[None],
        "attention_mask": tree_masks(causal.config, batch, attention, causal.dtype),
    }
    pred_U, targets_U, which_N = _once(batch)
    places = _places(causal, batch, attention)
    at_U = pred_U if places is None else torch.searchsorted(places, pred_U)
    before = (torch.zeros_like(at_U), at_U)
    with _computing(causal, attention, places):
        logprobs_U, entropy_U = _scored(causal, inputs, before, targets_U, temperature)
    return logprobs_U[which_N], entropy_U[which_N]


def _once(batch: TreeBatch) -> tuple[Tensor, Tensor, Tensor]:
    """[U] and [U]: the place before each trained token and its id; [N]: which is an owner's."""
    size = batch.targets_N.max() + 1
    numbers_N = batch.pred_N * size + batch.targets_N
    numbers_U, which_N = torch.unique(numbers_N, return_inverse=True)
    return numbers_U // size, numbers_U % size, which_N


def _attention_of_trees(causal: Any, device: torch.device) -> str | None:
    """The cheapest that the model can have; None where only its usual one gives its scores."""
    if device.type == "cuda" and causal._supports_flex_attn:
        return FLEX_ATTENTION
    # A model on SDPA has scores without sinks or caps, which tree attention knows nothing of.
    usual = causal.config._attn_implementation
    if usual == TREE_ATTENTION:
        return TREE_ATTENTION
    if device.type == "cpu" and usual == "sdpa" and causal._supports_attention_backend:
        return TREE_ATTENTION
    return None


@contextmanager
def attention_of(model: Any, batch: MicroBatch | TreeBatch) -> Iterator[None]:
    """What a batch needs on the way back too, where layers are computed again."""
    causal = model.get_base_model()
    name, places = None, None
    if isinstance(batch, TreeBatch):
        name = _attention_of_trees(causal, batch.ids_T.device)
        places = _places(causal, batch, name)
    with _computing(causal, name, places):
        yield


def _places(causal: Any, batch: TreeBatch, attention: str | None) -> Tensor | None:
    """Where a token is predicted from, in order; None where the last layer runs whole."""
    if attention == TREE_ATTENTION and can_choose_places(causal):
        places_U: Tensor = torch.unique(batch.pred_N)
        return places_U
    return None


@contextmanager
def _computing(causal: Any, attention: str | None, places: Tensor | None) -> Iterator[None]:
    """For this pass alone: the samplers' masks need what the model had before."""
    usual = causal.config._attn_implementation
    with ExitStack() as pass_alone:
        pass_alone.callback(causal.set_attn_implementation, usual)
        causal.set_attn_implementation(attention or usual)
        if places is not None:
            pass_alone.enter_context(last_layer_at(causal, places))
        yield


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
    scaled_NV = logits_NV.to(torch.promote_types(logits_NV.dtype, torch.float32))
    if temperature != 1.0:
        scaled_NV = scaled_NV / temperature
    logprobs_NV = torch.log_softmax(scaled_NV, dim=-1)
    with torch.no_grad():
        # A token whose probability is exactly 0 adds nothing, and 0 * -inf would be NaN.
        least = torch.finfo(logprobs_NV.dtype).min
        entropy_N = -(logprobs_NV.exp() * logprobs_NV.clamp(min=least)).sum(-1)
    return logprobs_NV.gather(-1, targets_N[:, None]).squeeze(-1), entropy_N
