"""Whether the credit that is shown is the credit that is stored: two sums that must agree."""

from __future__ import annotations

import math
from dataclasses import dataclass

from jobs.engine.credit.attribution import token_advantages, turn_records, turn_trained_tokens
from jobs.engine.types import TokenKind, Trajectory

TOLERANCE = 1e-6


@dataclass(frozen=True)
class Audit:
    """`turns`: the sum over turns of advantage times trained tokens. `tokens`: the sum of the
    advantages that each trained token is packed with. `n`: the trained tokens."""

    turns: float
    tokens: float
    n: int

    @property
    def agrees(self) -> bool:
        return math.isclose(self.turns, self.tokens, rel_tol=TOLERANCE, abs_tol=TOLERANCE)


def audit_of(trajectory: Trajectory) -> Audit | None:
    """None where nothing was trained."""
    records = turn_records(trajectory)
    if not records:
        return None
    turns = math.fsum(
        record.total * turn_trained_tokens(trajectory, turn)
        for turn, record in zip(trajectory.turns, records, strict=True)
    )
    packed = [
        advantage
        for advantage, kind in zip(
            token_advantages(trajectory)[1:], trajectory.kinds[1:], strict=True
        )
        if kind == TokenKind.SAMPLED
    ]
    return Audit(turns, math.fsum(packed), len(packed))
