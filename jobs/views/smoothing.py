"""Smoothing of curves, for the eye alone: tables, exports and alarms stay raw."""

from __future__ import annotations

from collections.abc import Sequence

CHOICES = (0, 3, 10, 30)
"""Half-lives in steps that the page offers; 0 is off."""
FEW_STEPS, SHARE, MOST = 40, 0.05, 10


def half_life(asked: str, steps: int) -> int:
    """The half-life that was asked for, else by rule: off under 40 steps, then 5 %, at most 10."""
    if asked.isdecimal() and len(asked) < 4:
        return min(int(asked), max(CHOICES))
    return 0 if steps < FEW_STEPS else min(round(SHARE * steps), MOST)


def smoothed(
    steps: Sequence[int], values: Sequence[float | None], half: float
) -> tuple[float | None, ...]:
    """Exponential mean with a half-life in steps, debiased: the first value stays as it is.

    Weights are 0.5 ** (distance in steps / half); an unknown value stays unknown.
    """
    found: list[float | None] = []
    total = weight = 0.0
    before: int | None = None
    for step, value in zip(steps, values, strict=True):
        if value is None:
            found.append(None)
            continue
        decay = 0.5 ** ((1 if before is None else step - before) / half)
        total, weight = decay * total + (1 - decay) * value, decay * weight + (1 - decay)
        before = step
        found.append(total / weight)
    return tuple(found)
