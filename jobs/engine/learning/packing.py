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

from jobs.engine.credit.attribution import token_advantages
from jobs.engine.types import TokenKind, Trajectory


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """`mask_BT` is true where a sampled token is trained; elsewhere the other fields are 0.

    `uids_B` names the rollouts.
    """

    ids_BT: Tensor
    mask_BT: Tensor
    anchor_BT: Tensor
    advantages_BT: Tensor
    uids_B: tuple[str, ...] = ()

    def tensors(self) -> tuple[Tensor, ...]:
        """All that is computed with."""
        return self.ids_BT, self.mask_BT, self.anchor_BT, self.advantages_BT

    def to(self, device: torch.device) -> MicroBatch:
        ids_BT, mask_BT, anchor_BT, advantages_BT = (each.to(device) for each in self.tensors())
        return MicroBatch(ids_BT, mask_BT, anchor_BT, advantages_BT, self.uids_B)

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


def scaled_advantages(trajectory: Trajectory, total: int) -> Tensor:
    """[computed length]: over the tokens of the whole step; 0 where a token is not trained."""
    mask_T = trained_mask(trajectory)
    advantages_T = torch.tensor(token_advantages(trajectory)[: len(mask_T)], dtype=torch.float64)
    return torch.where(mask_T, advantages_T / total, 0.0).float()


def pack(
    trajectories: Sequence[Trajectory], *, token_budget: int, total: int = 1
) -> list[MicroBatch]:
    """Longest first, as many rollouts a micro-batch as fit the budget with their padding.

    `total`: the tokens of the whole step. A rollout longer than the budget goes alone.
    """
    longest_first = sorted(trajectories, key=lambda each: (-computed_length(each), each.uid))
    batches: list[list[Trajectory]] = []
    for trajectory in longest_first:
        longest = computed_length(batches[-1][0]) if batches else 0
        if batches and (len(batches[-1]) + 1) * longest <= token_budget:
            batches[-1].append(trajectory)
        else:
            batches.append([trajectory])
    return [_micro_batch(batch, total) for batch in batches]


def _micro_batch(trajectories: Sequence[Trajectory], total: int) -> MicroBatch:
    shape = (len(trajectories), computed_length(trajectories[0]))
    ids_BT = torch.zeros(shape, dtype=torch.long)
    mask_BT = torch.zeros(shape, dtype=torch.bool)
    anchor_BT = torch.zeros(shape)
    advantages_BT = torch.zeros(shape)
    for row, trajectory in enumerate(trajectories):
        mask_T = trained_mask(trajectory)
        length = len(mask_T)
        ids_BT[row, :length] = torch.tensor(trajectory.ids[:length])
        mask_BT[row, :length] = mask_T
        anchor_T = torch.tensor(trajectory.logprobs[:length], dtype=torch.float32)
        anchor_BT[row, :length] = torch.where(mask_T, anchor_T, 0.0)
        advantages_BT[row, :length] = scaled_advantages(trajectory, total)
    uids_B = tuple(trajectory.uid for trajectory in trajectories)
    return MicroBatch(ids_BT, mask_BT, anchor_BT, advantages_BT, uids_B)
