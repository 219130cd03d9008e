"""A step's stored metrics as one flat row of numbers, the same for every library. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

FREE_TEXT = frozenset({"ungraded_causes"})
"""Groups whose keys are sentences: each would be a metric of its own."""
_PLAIN = re.compile(r"[A-Za-z0-9_.\-]")


def flattened(metrics: Mapping[str, Any]) -> dict[str, float]:
    """`{"train": {"reward_mean": 0.5}}` → `{"train/reward_mean": 0.5}`.

    Truth values are 1 and 0. What is unknown, not finite or no number is left out.
    """
    return dict(sorted(_numbers("", metrics)))


def _numbers(path: str, value: Any) -> Iterator[tuple[str, float]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if key not in FREE_TEXT:
                yield from _numbers(f"{path}/{_name(str(key))}" if path else _name(str(key)), inner)
    elif isinstance(value, int | float) and math.isfinite(value):
        yield path, float(value)


def _name(key: str) -> str:
    """Letters, digits, `_`, `-` and `.` stay; all else is its code, so that no two keys meet."""
    plain = "".join(char if _PLAIN.match(char) else f"_x{ord(char):x}_" for char in key)
    return f"_x2e_{plain[1:]}" if plain.startswith(".") else plain or "_x_"
