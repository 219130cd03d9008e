"""Whether the optimiser received what the credit says: Σ A × tokens of each rollout, thrice.

By its turns' records, by its tokens, and as it stands in the packed batch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch

from jobs.engine.credit.attribution import token_advantages
from jobs.engine.learning.packing import MicroBatch, trained_mask
from jobs.engine.learning.tree import TreeBatch
from jobs.engine.types import Trajectory

TOLERANCE = 1e-6
"""Of Σ |A| × tokens: batches hold 32-bit numbers."""


@dataclass(frozen=True, slots=True)
class Audit:
    """The three sums of one rollout; `weight` is the sum without signs."""

    by_turn: float
    by_token: float
    received: float
    weight: float

    @property
    def differs(self) -> bool:
        most = TOLERANCE * max(self.weight, 1.0)
        sums = (self.by_turn, self.by_token, self.received)
        return not all(math.isfinite(each) for each in sums) or max(sums) - min(sums) > most


def audits(
    batch: MicroBatch | TreeBatch, members: Mapping[str, Trajectory], total: int
) -> Iterator[Audit]:
    """One a rollout of the batch. `total`: the tokens that its advantages were divided by."""
    received_B = torch.zeros(len(batch.uids_B), dtype=torch.float64)
    received_B.index_add_(0, batch.owner_N, batch.advantages_N.double() * total)
    for uid, received in zip(batch.uids_B, received_B.tolist(), strict=True):
        member = members[uid]
        mask_T = trained_mask(member)
        advantages_T = torch.tensor(token_advantages(member)[: len(mask_T)], dtype=torch.float64)
        trained_N = advantages_T[mask_T]
        by_turn = _by_turn(member, mask_T)
        yield Audit(by_turn, float(trained_N.sum()), received, float(trained_N.abs().sum()))


def _by_turn(member: Trajectory, mask_T: torch.Tensor) -> float:
    if not member.attribution:
        return (member.advantage or 0.0) * int(mask_T.sum())
    return sum(
        credit.total * int(mask_T[turn.start : turn.end].sum())
        for turn, credit in zip(member.turns, member.attribution, strict=True)
    )
