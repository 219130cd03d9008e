"""Attention over a packed tree at its true cost: no score is computed that no token needs.

The row is cut where the tree branches. A segment's followers stand directly behind it, so its keys
meet two runs of queries: the segment itself, causally, and all that follows it, without a mask.
Each pair of runs is one call of torch's fused attention, and the results merge by their
log-sum-exp. Backwards, a call that is given the merged result and log-sum-exp yields its part of
the whole gradient. Only where a window cuts a pair does it need a mask.

Legend: T tokens of the row, H heads (of keys and values a part of them, which the kernel takes as
it is), D head size, Q queries and K keys of one pair.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import AttentionInterface

TREE_ATTENTION = "tree"
"""The name under which transformers finds it."""

_fused = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_fused_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


class Pair(NamedTuple):
    """A run of queries and a run of keys that they see; `mask_QK` is additive."""

    queries: slice
    keys: slice
    causal: bool = False
    mask_QK: Tensor | None = None


def tree_mask(ends_T: Tensor, positions_T: Tensor, window: int | None) -> Tensor:
    """[1, 1, 3, T]: where a token's followers end, its position, the oldest position it sees.

    A mask of four dimensions is one that transformers hands to the layers as it is.
    """
    oldest_T = torch.zeros_like(positions_T) if window is None else positions_T - window + 1
    return torch.stack([ends_T, positions_T, oldest_T])[None, None]


def segment_pairs(mask_113T: Tensor) -> Iterator[Pair]:
    """Every token with itself and each of its ancestors in exactly one pair."""
    ends_T, positions_T, oldest_T = mask_113T[0, 0]
    ends, lengths = torch.unique_consecutive(ends_T, return_counts=True)
    start = 0
    for end, length in zip(ends.tolist(), lengths.tolist(), strict=True):
        own = slice(start, start + length)
        start = own.stop
        yield from _within_window(Pair(own, own, causal=True), positions_T, oldest_T)
        if end > start:
            yield from _within_window(Pair(slice(start, end), own), positions_T, oldest_T)


def _within_window(pair: Pair, positions_T: Tensor, oldest_T: Tensor) -> Iterator[Pair]:
    """The pair without the keys that are too old for all its queries, if any are left."""
    oldest_Q = oldest_T[pair.queries]
    start, stop = pair.keys.start, pair.keys.stop
    # The positions of a segment are consecutive.
    start += max(0, int(oldest_Q.min()) - int(positions_T[start]))
    if start >= stop:
        return
    positions_K = positions_T[start:stop]
    if int(oldest_Q.max()) <= int(positions_K[0]):
        yield pair._replace(keys=slice(start, stop))
        return
    seen_QK = positions_K >= oldest_Q[:, None]
    if pair.causal:
        seen_QK = seen_QK.tril()
    # Not -inf: the kernel's log-sum-exp of a query that sees none of the keys would be 0.
    mask_QK = torch.zeros(seen_QK.shape).masked_fill_(~seen_QK, torch.finfo(torch.float32).min)
    yield Pair(pair.queries, slice(start, stop), mask_QK=mask_QK)


class _TreeAttention(torch.autograd.Function):
    """[1, H, T, D] each. The pairs are found anew backwards: their masks are large, and cheap."""

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, mask_113T: Tensor, scale: float | None
    ) -> Tensor:
        out, sums_1HT = torch.zeros_like(query), query.new_full(query.shape[:-1], -torch.inf)
        for queries, keys, causal, mask_QK in segment_pairs(mask_113T):
            part, part_1HQ = _fused(
                query[:, :, queries],
                key[:, :, keys],
                value[:, :, keys],
                is_causal=causal,
                attn_mask=mask_QK,
                scale=scale,
            )
            sum_1HQ = sums_1HT[:, :, queries]
            out[:, :, queries].lerp_(part, torch.sigmoid(part_1HQ - sum_1HQ)[..., None])
            sums_1HT[:, :, queries] = torch.logaddexp(sum_1HQ, part_1HQ)
        ctx.scale = scale
        ctx.save_for_backward(query, key, value, out, sums_1HT, mask_113T)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, out, sums_1HT, mask_113T = ctx.saved_tensors
        found = [torch.zeros_like(each) for each in (query, key, value)]
        for queries, keys, causal, mask_QK in segment_pairs(mask_113T):
            parts = _fused_backward(
                grads[0][:, :, queries],
                query[:, :, queries],
                key[:, :, keys],
                value[:, :, keys],
                out[:, :, queries],
                sums_1HT[:, :, queries],
                0.0,
                causal,
                attn_mask=mask_QK,
                scale=ctx.scale,
            )
            for whole, part, run in zip(found, parts, (queries, keys, keys), strict=True):
                whole[:, :, run] += part
        return (*found, None, None)


def tree_attention(
    _module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor,
    scaling: float | None = None,
    **_kwargs: Any,
) -> tuple[Tensor, None]:
    """In the form that transformers calls: [1, H, T, D] each and a `tree_mask`; to [1, T, H, D].

    For models that could also use SDPA, so without sinks or caps on the scores, and no dropout.
    """
    size = value.shape[-1]
    # The kernel takes values of the size of keys alone; MLA's are smaller.
    value = pad(value, (0, query.shape[-1] - size)) if size != query.shape[-1] else value
    out: Tensor = _TreeAttention.apply(query, key, value, attention_mask, scaling)  # type: ignore[no-untyped-call]
    return out[..., :size].transpose(1, 2).contiguous(), None


AttentionInterface.register(TREE_ATTENTION, tree_attention)
