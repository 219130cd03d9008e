"""Trained rollouts to micro-batches of bounded size, padded on the right.

Shapes: B = rollouts of a micro-batch, T = its longest rollout, N = its trained tokens. Padding
stands to the right of a causal model's tokens, so that no real token sees it and no attention mask
is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from jobs.engine.types import TokenKind, Trajectory


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """`mask_BT` is true where a sampled token is trained; elsewhere the other fields are 0."""

    ids_BT: Tensor
    mask_BT: Tensor
    anchor_BT: Tensor
    advantages_BT: Tensor

    def to(self, device: torch.device) -> MicroBatch:
        return MicroBatch(
            self.ids_BT.to(device),
            self.mask_BT.to(device),
            self.anchor_BT.to(device),
            self.advantages_BT.to(device),
        )

    @property
    def anchor_N(self) -> Tensor:
        return self.anchor_BT[self.mask_BT]

    @property
    def advantages_N(self) -> Tensor:
        return self.advantages_BT[self.mask_BT]

    @property
    def owner_N(self) -> Tensor:
        """The row of each trained token."""
        return self.mask_BT.nonzero()[:, 0]


def computed_length(trajectory: Trajectory) -> int:
    """Tokens up to the last trained one: what a loop or a tool wrote after it is not computed."""
    kinds = trajectory.kinds
    places = range(len(kinds) - 1, -1, -1)
    return 1 + next((place for place in places if kinds[place] == TokenKind.SAMPLED), 0)


def trained_mask(trajectory: Trajectory) -> Tensor:
    """[computed length]: true where a sampled token has something before it."""
    mask_T = torch.tensor(trajectory.kinds[: computed_length(trajectory)]) == TokenKind.SAMPLED
    mask_T[0] = False
    return mask_T


def pack(
    trajectories: Sequence[Trajectory], advantages: Sequence[float], *, token_budget: int
) -> list[MicroBatch]:
    """Longest first, as many rollouts a micro-batch as fit the budget with their padding.

    `advantages` are per trajectory, already scaled. A rollout longer than the budget goes alone.
    """
    pairs = sorted(
        zip(trajectories, advantages, strict=True),
        key=lambda pair: (-computed_length(pair[0]), pair[0].uid),
    )
    batches: list[list[tuple[Trajectory, float]]] = []
    for pair in pairs:
        longest = computed_length(batches[-1][0][0]) if batches else 0
        if batches and (len(batches[-1]) + 1) * longest <= token_budget:
            batches[-1].append(pair)
        else:
            batches.append([pair])
    return [_micro_batch(batch) for batch in batches]


def _micro_batch(pairs: Sequence[tuple[Trajectory, float]]) -> MicroBatch:
    shape = (len(pairs), computed_length(pairs[0][0]))
    ids_BT = torch.zeros(shape, dtype=torch.long)
    mask_BT = torch.zeros(shape, dtype=torch.bool)
    anchor_BT = torch.zeros(shape)
    advantages_BT = torch.zeros(shape)
    for row, (trajectory, advantage) in enumerate(pairs):
        length = computed_length(trajectory)
        ids_BT[row, :length] = torch.tensor(trajectory.ids[:length])
        mask_T = trained_mask(trajectory)
        mask_BT[row, :length] = mask_T
        anchor_T = torch.tensor(trajectory.logprobs[:length], dtype=torch.float32)
        anchor_BT[row, :length] = torch.where(mask_T, anchor_T, 0.0)
        advantages_BT[row, :length] = torch.where(mask_T, advantage, 0.0)
    return MicroBatch(ids_BT, mask_BT, anchor_BT, advantages_BT)
