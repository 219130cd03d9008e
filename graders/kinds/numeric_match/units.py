"""Units and their conversion, by pint. It is loaded with the first unit that a grader names."""

from __future__ import annotations

import functools
import importlib
import math
import re
from collections.abc import Sequence
from typing import Any

# English words that are units, too. They are read as such only where they fit the wanted one.
_WORDS = frozenset(
    {
        *("a", "am", "are", "as", "at", "has", "he", "hand", "in", "me"),
        *("pm", "point", "points", "turn", "us"),
    }
)
_SAFE = re.compile(r"(?:[^\W\d_]|[°%‰/*·²³⁻¹ ]|\^-?\d(?!\d)|(?<=[^\W\d_])-?\d(?!\d)){1,60}")


class UnknownUnit(ValueError):
    """No unit of this name is known."""


class Unit:
    """The unit in which numbers are compared."""

    def __init__(self, text: str) -> None:
        self._unit = _parsed(text.strip())
        if self._unit is None:
            raise UnknownUnit(
                f"{text[:60]!r} is no unit that is known. Write it as km, m/s, degC, percent or "
                "miles per hour."
            )

    def converted(self, value: float, words: Sequence[str], *, bare: bool) -> float | None:
        """`value` in this unit, from the one that `words` begin with; None where it has another.

        `bare`: a number without any unit is taken to be in this one.
        """
        other = False
        for end in range(len(words), 0, -1):
            unit = _parsed(" ".join(words[:end]))
            if unit is not None and unit.is_compatible_with(self._unit):
                return _convert(value, unit, self._unit)
            other = other or (unit is not None and words[0].lower() not in _WORDS)
        return value if bare and not other else None


@functools.cache
def _registry() -> Any:
    return importlib.import_module("pint").UnitRegistry()


@functools.lru_cache(maxsize=10_000)
def _parsed(text: str) -> Any:
    """The unit, or None. The text is hostile: what pint raises for one has no common class."""
    if not _SAFE.fullmatch(text):
        return None
    try:
        return _registry().parse_units(text)
    except Exception:  # noqa: BLE001
        return None


def _convert(value: float, unit: Any, wanted: Any) -> float | None:
    try:
        converted = float(_registry().Quantity(value, unit).to(wanted).magnitude)
    except ArithmeticError:
        return None
    return converted if math.isfinite(converted) else None
