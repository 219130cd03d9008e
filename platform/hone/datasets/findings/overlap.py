"""Rows that two versions have in common: training must not hold what validation asks."""

from __future__ import annotations

from typing import Any

import numpy as np

from hone.datasets.findings.near import near_pairs
from hone.datasets.findings.prints import Prints

MOST_EXAMPLES = 10


def overlap(first: Prints, second: Prints) -> dict[str, Any]:
    """How many rows of `first` ask just what a row of `second` asks, or nearly that."""
    same = np.isin(first.prompts, second.prompts)
    places = {int(value): place for place, value in enumerate(second.prompts)}
    exact = [
        [int(place) + 1, places[int(first.prompts[place])] + 1]
        for place in np.flatnonzero(same)[:MOST_EXAMPLES]
    ]
    near = [
        [int(first.sampled[mine]), int(second.sampled[other])]
        for mine, other in sorted(near_pairs(first.signatures, second.signatures).items())
        if not _is_same(same, int(first.sampled[mine]))
    ]
    return {
        "same": int(same.sum()),
        "compared": len(first.prompts),
        "same_examples": exact,
        "near": len(near),
        "sampled": len(first.sampled),
        "near_examples": near[:MOST_EXAMPLES],
    }


def _is_same(same: Any, row: int) -> bool:
    return row <= len(same) and bool(same[row - 1])
