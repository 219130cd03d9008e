"""What one turn was trained on, term by term. Torch-free."""

from __future__ import annotations

import msgspec

from jobs.engine.types import Turn


class Attribution(msgspec.Struct, frozen=True, kw_only=True):
    """The credit of one turn (reference 2.3): additive, so `total` is what was trained on.

    `tool_call_id` names the turn's only call; it is None for an answer or several calls, because
    the credit of several calls cannot be told apart.
    """

    turn: int
    tool_call_id: str | None
    episode: float
    step: float = 0.0
    process: float = 0.0
    counterfactual: float = 0.0
    n: int = 0
    """Comparable siblings behind the step term."""
    interval: tuple[float, float] | None = None

    @property
    def total(self) -> float:
        return self.episode + self.step + self.process + self.counterfactual


def only_call_id(turn: Turn) -> str | None:
    """The id that a turn's credit may be shown at; None where no single call earned it."""
    return turn.calls[0].id if len(turn.calls) == 1 else None
