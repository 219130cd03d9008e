"""Rollouts that share a beginning as one packed row, in which each shared token stands once.

The rollouts of a row are a trie, written out depth first: what a token is followed by, in any
rollout, stands directly after it. So token i sees token j exactly where j <= i < end of j.

Legend: T tokens of the row, L tokens of one rollout, N trained tokens, each once per owner.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from functools import partial
from itertools import groupby, pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.attention.flex_attention import create_block_mask

from jobs.engine.learning.packing import MicroBatch, computed_length, pack, trained_mask
from jobs.engine.sampling.slots import additive_mask, can_use_slots, masks_by_layer
from jobs.engine.types import Trajectory

SAVES = 0.8
"""A tree is worth its dense mask where it has fewer than this share of its rollouts' tokens."""

Pair = tuple[Trajectory, float]
Ids = NDArray[np.int64]
Sees = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class TreeBatch:
    """`ends_T` is where a token's followers end; `pred_N` is the place before a trained token."""

    ids_T: Tensor
    positions_T: Tensor
    ends_T: Tensor
    pred_N: Tensor
    targets_N: Tensor
    anchor_N: Tensor
    advantages_N: Tensor
    owner_N: Tensor

    def to(self, device: torch.device) -> TreeBatch:
        return TreeBatch(*(getattr(self, part.name).to(device) for part in fields(self)))


def pack_trees(
    trajectories: Sequence[Trajectory],
    advantages: Sequence[float],
    *,
    token_budget: int,
    row_tokens: int,
) -> list[MicroBatch | TreeBatch]:
    """Trees where they save, else the padded form.

    A tree of more than `token_budget` tokens is split; small trees share a row of `row_tokens`.
    """
    pairs = _by_ids(zip(trajectories, advantages, strict=True))
    trees: list[list[Pair]] = []
    alone: list[Pair] = []
    for _, group in groupby(pairs, key=lambda pair: pair[0].group):
        for piece in _joined(([pair] for pair in group), token_budget):
            whole = sum(computed_length(pair[0]) for pair in piece)
            if _fresh([], piece) < SAVES * whole:
                trees.append(piece)
            else:
                alone.extend(piece)
    rows = _joined(trees, row_tokens)
    padded = pack([m for m, _ in alone], [a for _, a in alone], token_budget=token_budget)
    return [*(build_tree(row) for row in rows), *padded]


def _joined(pieces: Iterable[list[Pair]], budget: int) -> Iterator[list[Pair]]:
    """Neighbouring pieces together, as far as their tree fits the budget."""
    row: list[Pair] = []
    used = 0
    for piece in pieces:
        fresh = _fresh(row, piece)
        if row and used + fresh > budget:
            yield row
            row, used, fresh = [], 0, _fresh([], piece)
        row = row + piece
        used += fresh
    if row:
        yield row


def _fresh(row: Sequence[Pair], piece: Sequence[Pair]) -> int:
    """Tokens that a piece adds to the tree of the rollouts before it, all in order."""
    before = _ids(row[-1]) if row else np.zeros(0, dtype=np.int64)
    ids = [before, *(_ids(pair) for pair in piece)]
    return sum(len(now_L) - common_prefix(before_L, now_L) for before_L, now_L in pairwise(ids))


def _ids(pair: Pair) -> Ids:
    return np.asarray(pair[0].ids[: computed_length(pair[0])], dtype=np.int64)


def _by_ids(pairs: Iterable[Pair]) -> list[Pair]:
    """By the tokens that are computed; so no rollout is a beginning of one before it."""
    return sorted(pairs, key=lambda pair: (pair[0].ids[: computed_length(pair[0])], pair[0].uid))


def common_prefix(left_L: Ids, right_L: Ids) -> int:
    shorter = min(len(left_L), len(right_L))
    different = np.flatnonzero(left_L[:shorter] != right_L[:shorter])
    return int(different[0]) if len(different) else shorter


def trie_paths(rollouts: Sequence[Ids]) -> list[Ids]:
    """Each rollout's places in the row; the rollouts are in lexicographic order."""
    paths: list[Ids] = []
    before_L = path_L = np.zeros(0, dtype=np.int64)
    used = 0
    for now_L in rollouts:
        shared = common_prefix(before_L, now_L)
        end = used + len(now_L) - shared
        path_L = np.concatenate([path_L[:shared], np.arange(used, end)])
        paths.append(path_L)
        before_L, used = now_L, end
    return paths


def build_tree(pairs: Sequence[Pair]) -> TreeBatch:
    """One row of all rollouts; `owner_N` counts them in lexicographic order."""
    pairs = _by_ids(pairs)
    rollouts = [_ids(pair) for pair in pairs]
    paths = trie_paths(rollouts)
    ids_T, positions_T, ends_T = np.zeros((3, paths[-1][-1] + 1), dtype=np.int64)
    parts: list[list[Tensor]] = []
    for owner, (pair, ids_L, path_L) in enumerate(zip(pairs, rollouts, paths, strict=True)):
        ids_T[path_L] = ids_L
        positions_T[path_L] = np.arange(len(path_L))
        ends_T[path_L] = path_L[-1] + 1
        places_N = trained_mask(pair[0]).nonzero().flatten()
        anchor_L = torch.tensor(pair[0].logprobs[: len(ids_L)], dtype=torch.float32)
        parts.append(
            [
                torch.from_numpy(path_L)[places_N - 1],
                torch.from_numpy(ids_L)[places_N],
                anchor_L[places_N],
                torch.full(places_N.shape, pair[1], dtype=torch.float32),
                torch.full_like(places_N, owner),
            ]
        )
    row = [torch.from_numpy(part_T) for part_T in (ids_T, positions_T, ends_T)]
    return TreeBatch(*row, *(torch.cat(part) for part in zip(*parts, strict=True)))


def can_use_trees(config: Any) -> bool:
    """Whether all layers are attention that a mask of tokens by tokens can steer."""
    return can_use_slots(config)


def tree_masks(config: Any, batch: TreeBatch, *, blocks: bool, dtype: torch.dtype) -> Any:
    """The mask of all layers, or one by each kind of layer where some have a window."""
    make = partial(block_mask, batch) if blocks else partial(dense_mask, batch, dtype=dtype)
    return masks_by_layer(config, make)


def ancestors(batch: TreeBatch, window: int | None) -> Sees:
    """Whether a query's place sees a key's: its ancestors and itself, within the window."""

    def sees(_batch: Tensor, _head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        seen = (key <= query) & (query < batch.ends_T[key])
        if window is None:
            return seen
        return seen & (batch.positions_T[key] > batch.positions_T[query] - window)

    return sees


def dense_mask(batch: TreeBatch, window: int | None, *, dtype: torch.dtype) -> Tensor:
    """Additive, [1, 1, T, T]."""
    places_T = torch.arange(len(batch.ids_T), device=batch.ids_T.device)
    none = places_T[:0]
    seen_TT = ancestors(batch, window)(none, none, places_T[:, None], places_T[None])
    return additive_mask(seen_TT[None], dtype)


def block_mask(batch: TreeBatch, window: int | None) -> Any:
    """The same for FlexAttention, on CUDA alone: no test without such a device runs it."""
    length = len(batch.ids_T)
    device = str(batch.ids_T.device)
    return create_block_mask(ancestors(batch, window), None, None, length, length, device=device)
