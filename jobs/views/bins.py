"""The seven bins of a signed value, as the token strip colours them."""

from __future__ import annotations

from collections.abc import Sequence

HALF = 3
ADVANTAGE_EDGES = (1e-9, 0.1, 0.3)


def signed_bin(value: float, edges: Sequence[float] = ADVANTAGE_EDGES) -> str:
    """`b0`…`b6`: three bins of losses, about zero, three of gains. `edges` end the bins."""
    level = sum(abs(value) > edge for edge in edges)
    return f"b{HALF + level if value > 0 else HALF - level}"


def legend(words: Sequence[str]) -> list[tuple[str, str]]:
    """Class and words of each bin."""
    return [(f"b{place}", each) for place, each in enumerate(words)]
