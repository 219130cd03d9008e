"""Notes what the loss was given of each rollout, and hands it to the rollouts of the step.

Legend: B rollouts of a micro-batch, N its trained tokens, which stand rollout after rollout.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import count

import torch
from torch import Tensor

from jobs.engine.learning.losses.base import LossInputs, log_ratio
from jobs.engine.learning.packing import MicroBatch
from jobs.engine.learning.tree import TreeBatch
from jobs.engine.ranks import Ranks
from jobs.engine.received import Audit, audit_of
from jobs.engine.types import Received, Trajectory

DIGITS = 16


class Ledger:
    """What this process received, by the uid of the rollout."""

    def __init__(self, ranks: Ranks) -> None:
        # By turns, so that no two ranks have a row of the same number.
        self._rows = count(ranks.index, ranks.count)
        self.received: dict[str, Received] = {}

    @torch.no_grad()
    def note(self, batch: MicroBatch | TreeBatch, inputs: LossInputs, total: int) -> None:
        """`total`: the tokens of the step, by which the advantages were divided."""
        sizes = torch.bincount(inputs.owner_N.cpu(), minlength=len(batch.uids_B)).tolist()
        advantages = torch.split(inputs.advantages_N.cpu().double() * total, sizes)
        ratio_N = log_ratio(inputs.logprobs_N, inputs.anchor_N).cpu().half()
        ratios = torch.split(ratio_N, sizes)
        rows = self._numbered(batch)
        for uid, row, own, log_ratios in zip(batch.uids_B, rows, advantages, ratios, strict=True):
            sum_ = own.sum()
            self.received[uid] = Received(
                row=row[0],
                sha256=row[1],
                total=float(sum_) if torch.isfinite(sum_) else None,
                log_ratios=log_ratios.numpy().astype("<f2").tobytes(),
            )

    def _numbered(self, batch: MicroBatch | TreeBatch) -> Iterator[tuple[int, str]]:
        """The number and the digest of each rollout's row; those of a tree share one."""
        if isinstance(batch, TreeBatch):
            row = (next(self._rows), _digest(batch.tensors()))
            return iter([row] * len(batch.uids_B))
        fields = batch.tensors()
        places = range(len(batch.uids_B))
        return ((next(self._rows), _digest([each[at] for each in fields])) for at in places)


def _digest(tensors: Iterable[Tensor]) -> str:
    found = hashlib.sha256()
    for tensor in tensors:
        found.update(tensor.cpu().numpy().tobytes())
    return found.hexdigest()[:DIGITS]


def hand_out(members: Sequence[Trajectory], ledgers: Iterable[dict[str, Received]]) -> list[Audit]:
    """Set `received` on the trained rollouts of a step, from what all ranks noted; their audits."""
    noted = {uid: received for ledger in ledgers for uid, received in ledger.items()}
    for member in members:
        member.received = noted.get(member.uid, Received())
    return [audit for member in members if (audit := audit_of(member))]
