"""Rollouts that share a beginning as one packed row, in which each shared token stands once.

The rollouts of a row are a trie, written out depth first: what a token is followed by, in any
rollout, stands directly after it. So token i sees token j exactly where j <= i < end of j.

Legend: T tokens of the row, L tokens of one rollout, N trained tokens, each once per owner.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from functools import partial
from itertools import groupby, pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.attention.flex_attention import create_block_mask

from jobs.engine.learning.packing import (
    MicroBatch,
    computed_length,
    pack,
    scaled_advantages,
    trained_mask,
)
from jobs.engine.learning.tree_attention import TREE_ATTENTION, tree_mask
from jobs.engine.sampling.slots import additive_mask, can_use_slots, masks_by_layer
from jobs.engine.types import Trajectory

SAVES = 0.8
"""A tree is worth its dense mask where it has fewer than this share of its rollouts' tokens."""

FLEX_ATTENTION = "flex_attention"

Ids = NDArray[np.int64]
Sees = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class TreeBatch:
    """`ends_T` is where a token's followers end; `pred_N` is the place before a trained token.

    `uids_B` names the rollouts that `owner_N` counts.
    """

    ids_T: Tensor
    positions_T: Tensor
    ends_T: Tensor
    pred_N: Tensor
    targets_N: Tensor
    anchor_N: Tensor
    advantages_N: Tensor
    owner_N: Tensor
    uids_B: tuple[str, ...] = field(default=(), kw_only=True)

    def tensors(self) -> tuple[Tensor, ...]:
        """All that is computed with."""
        return tuple(getattr(self, part.name) for part in fields(self) if not part.kw_only)

    def to(self, device: torch.device) -> TreeBatch:
        return TreeBatch(*(each.to(device) for each in self.tensors()), uids_B=self.uids_B)


def pack_trees(
    trajectories: Sequence[Trajectory], *, token_budget: int, row_tokens: int, total: int = 1
) -> list[MicroBatch | TreeBatch]:
    """Trees where they save, else the padded form.

    A tree of more than `token_budget` tokens is split; small trees share a row of `row_tokens`.
    `total`: the tokens of the whole step.
    """
    trees: list[list[Trajectory]] = []
    alone: list[Trajectory] = []
    # Stable, so that within a group they stay in the order of their tokens.
    members = sorted(_by_ids(trajectories), key=lambda member: member.group)
    for _, group in groupby(members, key=lambda member: member.group):
        for piece in _joined(([member] for member in group), token_budget):
            whole = sum(map(computed_length, piece))
            if _fresh([], piece) < SAVES * whole:
                trees.append(piece)
            else:
                alone.extend(piece)
    rows = _joined(trees, row_tokens)
    padded = pack(alone, token_budget=token_budget, total=total)
    return [*(build_tree(row, total) for row in rows), *padded]


def _joined(pieces: Iterable[list[Trajectory]], budget: int) -> Iterator[list[Trajectory]]:
    """Neighbouring pieces together, as far as their tree fits the budget."""
    row: list[Trajectory] = []
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


def _fresh(row: Sequence[Trajectory], piece: Sequence[Trajectory]) -> int:
    """Tokens that a piece adds to the tree of the rollouts before it, all in order."""
    before = _ids(row[-1]) if row else np.zeros(0, dtype=np.int64)
    ids = [before, *map(_ids, piece)]
    return sum(len(now_L) - common_prefix(before_L, now_L) for before_L, now_L in pairwise(ids))


def _ids(member: Trajectory) -> Ids:
    return np.asarray(member.ids[: computed_length(member)], dtype=np.int64)


def _by_ids(members: Iterable[Trajectory]) -> list[Trajectory]:
    """By the tokens that are computed; so no rollout is a beginning of one before it."""
    return sorted(members, key=lambda each: (each.ids[: computed_length(each)], each.uid))


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


def build_tree(members: Sequence[Trajectory], total: int = 1) -> TreeBatch:
    """One row of all rollouts; `owner_N` counts them in lexicographic order."""
    members = _by_ids(members)
    rollouts = list(map(_ids, members))
    paths = trie_paths(rollouts)
    ids_T, positions_T, ends_T = np.zeros((3, paths[-1][-1] + 1), dtype=np.int64)
    parts: list[list[Tensor]] = []
    for owner, (member, ids_L, path_L) in enumerate(zip(members, rollouts, paths, strict=True)):
        ids_T[path_L] = ids_L
        positions_T[path_L] = np.arange(len(path_L))
        ends_T[path_L] = path_L[-1] + 1
        places_N = trained_mask(member).nonzero().flatten()
        anchor_L = torch.tensor(member.logprobs[: len(ids_L)], dtype=torch.float32)
        parts.append(
            [
                torch.from_numpy(path_L)[places_N - 1],
                torch.from_numpy(ids_L)[places_N],
                anchor_L[places_N],
                scaled_advantages(member, total)[places_N],
                torch.full_like(places_N, owner),
            ]
        )
    row = [torch.from_numpy(part_T) for part_T in (ids_T, positions_T, ends_T)]
    trained = (torch.cat(part) for part in zip(*parts, strict=True))
    return TreeBatch(*row, *trained, uids_B=tuple(member.uid for member in members))


def can_use_trees(config: Any) -> bool:
    """Whether all layers are attention that a mask of tokens by tokens can steer."""
    return can_use_slots(config)


def tree_masks(config: Any, batch: TreeBatch, attention: str | None, dtype: torch.dtype) -> Any:
    """The mask of all layers, or one by each kind of layer where some have a window.

    In the form that the attention of this name takes; additive where none is named.
    """
    if attention == FLEX_ATTENTION:
        return masks_by_layer(config, partial(block_mask, batch))
    if attention == TREE_ATTENTION:
        return masks_by_layer(config, partial(tree_mask, batch.ends_T, batch.positions_T))
    return masks_by_layer(config, partial(dense_mask, batch, dtype=dtype))


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
    """The same for FlexAttention, which has a backward pass on CUDA alone."""
    length = len(batch.ids_T)
    device = str(batch.ids_T.device)
    return create_block_mask(ancestors(batch, window), None, None, length, length, device=device)
