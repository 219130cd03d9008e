"""The credit of all turns of a row in a list: one small mark a turn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

SIDE, PITCH, HEIGHT = 6, 8, 16
MOST = 30


@dataclass(frozen=True)
class Marks:
    """A mark stands above the middle for a gain and below for a loss. Paths are of squares, solid
    where the turn has evidence of its own; `more` turns have no room."""

    width: int
    plus: str
    minus: str
    hollow: str
    more: int
    words: str

    @property
    def middle(self) -> str:
        return f"M0 {HEIGHT / 2}H{self.width}"


def turn_marks(credit: Mapping[str, Any]) -> Marks:
    """From a stored `CreditSummary`."""
    turns = [(float(total), bool(own)) for total, own in credit["turns"]]
    paths = {"plus": "", "minus": "", "hollow": ""}
    for at, (total, own) in enumerate(turns[:MOST]):
        kind = "hollow" if not own else "minus" if total < 0 else "plus"
        paths[kind] += _square(at, total, inset=0 if own else 0.5)
    gains = sum(total > 0 for total, _ in turns)
    losses = sum(total < 0 for total, _ in turns)
    speaking = sum(own for _, own in turns)
    return Marks(
        width=PITCH * min(len(turns), MOST),
        more=max(0, len(turns) - MOST),
        words=f"{gains} up, {losses} down, {speaking} of {len(turns)} with evidence of their own",
        **paths,
    )


def _square(at: int, total: float, inset: float) -> str:
    """An outline is half its line smaller. Exactly zero stands on the middle."""
    top = 1 if total > 0 else HEIGHT - 1 - SIDE if total < 0 else (HEIGHT - SIDE) // 2
    side = SIDE - 2 * inset
    return f"M{PITCH * at + 1 + inset:g} {top + inset:g}h{side:g}v{side:g}h-{side:g}z"
