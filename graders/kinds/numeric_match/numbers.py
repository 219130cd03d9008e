"""The numbers that stand in a text."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import NamedTuple

_NUMBER = re.compile(
    r"""
    (?P<sign>(?<![\w)\]])[-+−])?
    (?<![\w.])
    (?P<digits>(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+)
    (?:[eE](?P<power>[-+−]?\d{1,4})(?!\w)
      |\s?[×x*·]\s?10(?:\^|\*\*)\{?(?P<ten>[-+−]?\d{1,4})\}?
      |(?<!/)/(?P<below>\d{1,20}(?:\.\d{1,20})?)(?![\d/]))?
    """,
    re.VERBOSE,
)
# Units are words and signs; a full stop or a comma ends one.
_UNIT = re.compile(r"\s{0,2}([°%‰]?[^\W\d_]*[\w/^*·⁻¹²³-]*(?:\s[^\W\d_][\w/^*·⁻¹²³-]*){0,3})")
LONGEST_UNIT = 60


class Number(NamedTuple):
    """A finite number, and the words behind it that may be its unit."""

    value: float
    words: list[str]


def numbers(text: str) -> Iterator[Number]:
    """`1,234.5`, `-3e4`, `2.5 × 10^3` and `3/4`, in the order of the text."""
    for found in _NUMBER.finditer(text):
        value = _value(found)
        if math.isfinite(value):
            unit = _UNIT.match(text[found.end() : found.end() + LONGEST_UNIT])
            yield Number(value, unit[1].split() if unit else [])


def _value(found: re.Match[str]) -> float:
    power = (found["power"] or found["ten"] or "0").replace("−", "-")
    value = float(f"{found['digits'].replace(',', '')}e{power}")
    if below := found["below"]:
        value = value / float(below) if float(below) else math.nan
    return -value if found["sign"] in {"-", "−"} else value
