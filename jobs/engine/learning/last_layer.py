"""The last layer only where a token is predicted from: nothing reads it anywhere else.

Of the other tokens it needs keys and values, and neither queries nor all that comes after
attention. In a tree of rollouts behind a long prompt that is most of the layer. Exact, and for the
architectures that are built alike; all others compute the layer whole.

Legend: T tokens of the row, U places that are wanted, H heads, D head size, E hidden size.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers.models.llama.modeling_llama import rotate_half

from jobs.engine.sampling.fused import BUILT_ALIKE
from jobs.engine.sampling.slots import additive_mask


@contextmanager
def last_layer_at(causal: Any, places_U: Tensor) -> Iterator[None]:
    """Within, the last layer makes [1, U, E] of [1, T, E], given the mask of tree attention."""
    layer = causal.model.layers[-1]
    before = layer.__dict__.get("forward")
    layer.forward = partial(_forward, layer, places_U)
    try:
        yield
    finally:
        del layer.forward
        if before is not None:
            layer.forward = before


def can_choose_places(causal: Any) -> bool:
    """Whether the last layer is built as here."""
    return type(causal).__name__ in BUILT_ALIKE


def _forward(
    layer: Any,
    places_U: Tensor,
    hidden_1TE: Tensor,
    *,
    attention_mask: Tensor,
    position_embeddings: tuple[Tensor, Tensor],
    **_options: Any,
) -> Tensor:
    mask_11UT = visible(attention_mask, places_U, hidden_1TE.dtype)
    normed_1TE = layer.input_layernorm(hidden_1TE)
    seen_1UE = _attention(layer.self_attn, normed_1TE, places_U, mask_11UT, position_embeddings)
    x_1UE = hidden_1TE[:, places_U] + seen_1UE
    out_1UE: Tensor = x_1UE + layer.mlp(layer.post_attention_layernorm(x_1UE))
    return out_1UE


def visible(tree_mask_113T: Tensor, places_U: Tensor, dtype: torch.dtype) -> Tensor:
    """Additive, [1, 1, U, T]: each place's ancestors and itself, within its window."""
    ends_T, positions_T, oldest_T = tree_mask_113T[0, 0]
    keys_T = torch.arange(len(ends_T), device=ends_T.device)
    queries_U1 = places_U[:, None]
    seen_UT = (keys_T <= queries_U1) & (queries_U1 < ends_T)
    seen_UT &= positions_T >= oldest_T[queries_U1]
    return additive_mask(seen_UT[None], dtype)


def _attention(
    attention: Any,
    normed_1TE: Tensor,
    places_U: Tensor,
    mask_11UT: Tensor,
    rotation: tuple[Tensor, Tensor],
) -> Tensor:
    """[1, U, E]."""
    cos_1TD, sin_1TD = rotation
    query = _heads(attention, "q", normed_1TE[:, places_U])
    key, value = _heads(attention, "k", normed_1TE), _heads(attention, "v", normed_1TE)
    query = _turned(query, cos_1TD[:, places_U], sin_1TD[:, places_U])
    key = _turned(key, cos_1TD, sin_1TD)
    gqa = key.shape[1] != query.shape[1]
    seen = scaled_dot_product_attention(
        query, key, value, mask_11UT, scale=attention.scaling, enable_gqa=gqa
    )
    out: Tensor = attention.o_proj(seen.transpose(1, 2).flatten(2))
    return out


def _heads(attention: Any, name: str, normed_1TE: Tensor) -> Tensor:
    """[1, H, T, D], normed where the architecture has a norm of heads."""
    heads = getattr(attention, f"{name}_proj")(normed_1TE).unflatten(-1, (-1, attention.head_dim))
    norm = getattr(attention, f"{name}_norm", None)
    normed: Tensor = heads if norm is None else norm(heads)
    return normed.transpose(1, 2)


def _turned(x_1HTD: Tensor, cos_1TD: Tensor, sin_1TD: Tensor) -> Tensor:
    rotated: Tensor = rotate_half(x_1HTD)  # type: ignore[no-untyped-call]
    return x_1HTD * cos_1TD[:, None] + rotated * sin_1TD[:, None]
