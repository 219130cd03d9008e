"""What JSON allows and no database or tool can carry, found by walking a row's values. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from itertools import accumulate
from typing import Any

from hone.core.json_text import DEEPEST
from hone.datasets.errors import Problem

SHOWN = 80
LONGEST_PLACE = 200

_NUL = b"\\u0000"
_TEXT = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_STEP = {**dict.fromkeys(b"[{", 1), **dict.fromkeys(b"]}", -1)}
_NO_BRACKET = bytes(set(range(256)) - _STEP.keys())

Key = str | int


def looks_odd(line: bytes) -> bool:
    """Whether a line that msgspec has read can hold such a value: a NUL, or deep nesting.

    A walk costs ten times as much as this look at the bytes, and almost no row needs one.
    """
    if _NUL in line:
        return True
    if line.count(b"{") + line.count(b"[") <= DEEPEST:
        return False
    brackets = _TEXT.sub(b"", line).translate(None, _NO_BRACKET)
    return max(accumulate(map(_STEP.__getitem__, brackets))) > DEEPEST


def value_problems(number: int, item: Any) -> Iterator[Problem]:
    """Each such value of the row on line `number`, in order. Ends at nesting that is too deep.

    A row can hold a million values, so a place is put into words only for a fault.
    """
    path: list[Key] = []
    walks: list[Iterator[tuple[Key, Any]]] = [iter([("", item)])]
    while walks:
        entry = next(walks[-1], None)
        if entry is None:
            walks.pop()
            del path[-1:]
            continue
        key, value = entry
        if len(walks) > DEEPEST + 1:
            yield too_deep(number, _place([*path, key]))
            return
        if isinstance(key, str) and (fault := _text_fault(key)):
            yield _problem(number, f"{_place([*path, key])} (a key)", fault)
        if isinstance(value, dict | list):
            path.append(key)
            walks.append(_entries(value))
        elif fault := _fault(value):
            yield _problem(number, _place([*path, key]), fault)


def _entries(value: dict[str, Any] | list[Any]) -> Iterator[tuple[Key, Any]]:
    return iter(value.items()) if isinstance(value, dict) else enumerate(value)


def _fault(value: Any) -> tuple[str, str] | None:
    """The code of what is wrong with a value that holds no others, and the words for it."""
    if isinstance(value, str):
        return _text_fault(value)
    if not isinstance(value, float) or math.isfinite(value):
        return None
    word = "not a number (NaN)" if math.isnan(value) else "too large or infinite"
    remedy = "Write it as a text, use null or leave it out."
    return "non_finite", f"is {word}, which JSON cannot carry. {remedy}"


def _text_fault(value: str) -> tuple[str, str] | None:
    if "\x00" in value:
        return "nul", "holds a NUL character. Remove it."
    try:
        value.encode()
    except UnicodeEncodeError as error:
        half = f"\\u{ord(value[error.start]):04x}"
        return "surrogate", f"holds half a character ({half}), which no text can hold. Remove it."
    return None


def _problem(number: int, place: str, fault: tuple[str, str]) -> Problem:
    code, words = fault
    return Problem(number, place, code, f"Line {number}: {quoted(place)} {words}")


def too_deep(number: int, place: str = "") -> Problem:
    where = f" at {quoted(place)}" if place else ""
    message = f"Line {number} is nested more than {DEEPEST} deep{where}. Flatten it."
    return Problem(number, place, "nesting", message)


def _place(path: list[Key]) -> str:
    """The way to a value, as in `tools[0].name`; its first key stands for the row itself."""
    words = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path[1:])
    return _visible(cut(words.removeprefix("."), LONGEST_PLACE))


def quoted(place: str) -> str:
    """The place as a sentence names it."""
    return f"`{place}`" if place else "the row"


def _visible(text: str) -> str:
    """The text with what no page or database can show spelled out."""
    return text.replace("\x00", "\\u0000").encode("utf-8", "backslashreplace").decode()


def cut(text: str, longest: int = SHOWN) -> str:
    """The text, or its beginning where it is longer than a sentence can show."""
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
