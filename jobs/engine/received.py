"""What the optimiser received of a rollout, to read and to compare. Torch-free."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass

from jobs.engine.credit.attribution import token_advantages, turn_records, turn_trained_tokens
from jobs.engine.types import Trajectory

TOLERANCE = 1e-6
"""Of Σ |A| × tokens: batches hold 32-bit numbers."""


def log_ratios(trajectory: Trajectory) -> dict[int, float] | None:
    """log(trainer / sampler) by the place of each trained token; None where none is kept."""
    received = trajectory.received
    if received is None or received.row is None:
        return None
    values = struct.unpack(f"<{len(received.log_ratios) // 2}e", received.log_ratios)
    return dict(zip(trajectory.trained_places, values, strict=True))


@dataclass(frozen=True, slots=True)
class Audit:
    """Σ A × tokens of a trained rollout, thrice: by its turns, by its tokens, as it was received.

    `weight` is the sum without signs, of `tokens` trained tokens. `is_kept`: false in records from
    before what was received was. `row` None: it was in no packed row, and nothing was received.
    """

    by_turn: float
    by_token: float
    received: float
    weight: float
    tokens: int
    is_kept: bool
    row: int | None
    sha256: str

    @property
    def agrees(self) -> bool:
        """Of what is kept."""
        sums = [self.by_turn, self.by_token, *([self.received] if self.is_kept else [])]
        if not all(math.isfinite(each) for each in sums):
            return False
        if self.is_kept and self.row is None and self.weight:
            return False
        return max(sums) - min(sums) <= TOLERANCE * self.weight


def audit_of(trajectory: Trajectory) -> Audit | None:
    """None where nothing was trained."""
    if not trajectory.trained or trajectory.advantage is None:
        return None
    advantages = token_advantages(trajectory)
    trained = [advantages[place] for place in trajectory.trained_places]
    received = trajectory.received
    total = received.total if received else None
    return Audit(
        by_turn=sum(
            record.total * turn_trained_tokens(trajectory, turn)
            for turn, record in zip(trajectory.turns, turn_records(trajectory), strict=True)
        ),
        by_token=sum(trained),
        received=math.nan if total is None else total,
        weight=sum(map(abs, trained)),
        tokens=len(trained),
        is_kept=received is not None,
        row=received.row if received else None,
        sha256=received.sha256 if received else "",
    )
