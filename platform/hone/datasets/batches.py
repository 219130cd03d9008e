"""Checks many rows at once, for those that have nothing wrong with them. Pure.

A batch is decoded by a few calls into msgspec, and what types do not say is looked up or counted.
It is taken whole or not at all: whoever reads then halves it, until only the lines at fault are
left for `rows.check_row`, which knows why. Nothing passes here that would not pass there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from operator import itemgetter
from typing import Any

import msgspec
import numpy as np

from hone.core.json_text import MOST_DIGITS
from hone.datasets.messages import Message, message_problems
from hone.datasets.rows import Row, check_row
from hone.datasets.shapes import MOST_KEYS, Shape
from hone.datasets.values import looks_odd

MOST_KNOWN = 500
LONGEST_KNOWN = 16_000
"""So many texts of tools are remembered, for rows that repeat them, and none that is longer."""

MOST_SHAPES = 20
"""A file whose rows are of ever other shapes is read the general way."""

Counts = Counter[tuple[str, ...]]

_BEFORE_TOOLS = b'{"messages":[{"role":"user","content":""}],"tools":'
_ZEROS = bytes.maketrans(b"123456789", b"000000000")
_TOO_MANY_DIGITS = b"0" * (MOST_DIGITS + 1)
_NUL = "\x00"
_LINE_BREAK, _OPENING, _CLOSING = b"\n{}"
_OWN = frozenset({"messages", "tools"})
_NESTED = frozenset({dict, list})


class _Message(Message, forbid_unknown_fields=True, gc=False):
    """A message all of whose fields are read: in another could be what nothing here looks at."""

    name: str | None = None
    weight: int | None = None


_rows = msgspec.json.Decoder(dict[str, msgspec.Raw])
_conversations = msgspec.json.Decoder(list[list[_Message]])
_values = msgspec.json.Decoder(list[Any])


class Lines:
    """Lines that follow each other; the last one's line break is left out."""

    def __init__(self, text: bytes) -> None:
        self.text = text
        self._bytes = np.frombuffer(text, np.uint8)
        breaks = np.flatnonzero(self._bytes == _LINE_BREAK)
        self.starts = np.concatenate(([0], breaks + 1))
        self._ends = np.concatenate((breaks, [len(text)]))
        self.lengths = self._ends - self.starts

    def __len__(self) -> int:
        return len(self.starts)

    def each(self) -> list[bytes]:
        return self.text.split(b"\n")

    def halves(self) -> tuple[Lines, Lines]:
        cut = int(self.starts[len(self) // 2])
        return Lines(self.text[: cut - 1]), Lines(self.text[cut:])

    def are_in_braces(self) -> bool:
        """Whether each begins and ends with a brace."""
        return bool(
            (self.lengths >= 2).all()
            and (self._bytes[self.starts] == _OPENING).all()
            and (self._bytes[self._ends - 1] == _CLOSING).all()
        )


class BatchCheck:
    """Remembers the tools that rows repeat, and the keys if all rows have the same."""

    def __init__(self) -> None:
        self._known: dict[bytes, tuple[str, ...]] = {}
        self._shape: Shape | None = None
        self._shapes_left = MOST_SHAPES

    def sound(self, lines: Lines) -> tuple[Counts, Counts] | None:
        """The keys and the tools of the rows and how many have them, if all rows are sound.

        If all lines are in braces and as many objects as lines are read, each line is one: JSON
        has no line break inside a text, and nothing but a comma or an end behind a closing brace.
        """
        if not lines.are_in_braces():
            return None
        counts = self._of_one_shape(lines)
        if counts is not None:
            return counts
        try:
            counts = None if _hides_digits(lines) else self._counted(lines)
        except (msgspec.DecodeError, ValueError, RecursionError, KeyError):
            return None
        if counts is not None:
            self._learn(counts[0])
        return counts

    def _of_one_shape(self, lines: Lines) -> tuple[Counts, Counts] | None:
        """The same in one pass, where all rows are like those before."""
        if self._shape is None:
            return None
        try:
            raws = self._shape.read(lines.text, len(lines))
            tools = None if raws is None else Counter([self._tools(raw) for raw in raws])
        except (msgspec.DecodeError, ValueError, RecursionError):
            tools = None
        if tools is None:
            self._shape = None
            return None
        return Counter({self._shape.keys: len(lines)}), tools

    def _learn(self, keys: Counts) -> None:
        """Read the next rows by the keys of these, unless rows differ again and again."""
        shape = next(iter(keys))
        if len(keys) == 1 and len(shape) <= MOST_KEYS and self._shapes_left:
            self._shapes_left -= 1
            self._shape = Shape(shape)

    def _counted(self, lines: Lines) -> tuple[Counts, Counts] | None:
        lines.text.decode()
        rows = _rows.decode_lines(lines.text)
        if len(rows) != len(lines):
            return None
        tools = Counter([self._tools(row["tools"]) for row in rows if "tools" in row])
        shapes = list(map(tuple, rows))
        keys = Counter(shapes)
        conversations = _conversations.decode(_array([row["messages"] for row in rows]))
        if not (
            _sound_keys(keys)
            and all(map(_is_sound, conversations))
            and _sound_values(_free_values(rows, shapes, keys))
        ):
            return None
        return keys, tools

    def _tools(self, raw: msgspec.Raw) -> tuple[str, ...]:
        """Their names. Raises ValueError where they have a problem."""
        text = bytes(raw)
        names = self._known.get(text)
        return names if names is not None else self._remembered(text)

    def _remembered(self, text: bytes) -> tuple[str, ...]:
        checked = check_row(0, _BEFORE_TOOLS + text + b"}")
        if not isinstance(checked, Row):
            raise ValueError("the tools have a problem")
        if len(text) <= LONGEST_KNOWN:
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            self._known[text] = checked.tools
        return checked.tools


def _hides_digits(lines: Lines) -> bool:
    """Whether a value that a later one of the same key replaces can be a number that no other
    reader would take; every other value is decoded."""
    if not (lines.lengths > MOST_DIGITS).any():
        return False
    return _TOO_MANY_DIGITS in lines.text.translate(_ZEROS)


def _array(values: Iterable[msgspec.Raw]) -> bytes:
    return b"[" + b",".join(values) + b"]"


def _sound_keys(shapes: Iterable[tuple[str, ...]]) -> bool:
    return not any(_NUL in key for shape in shapes for key in shape)


def _free_values(
    rows: list[dict[str, msgspec.Raw]], shapes: list[tuple[str, ...]], known: Iterable[Any]
) -> list[msgspec.Raw]:
    """What the rows have beside messages and tools. Rows of one shape are asked by one getter."""
    free = {shape: [key for key in shape if key not in _OWN] for shape in known}
    getters = {shape: itemgetter(*keys) for shape, keys in free.items() if len(keys) > 1}
    found: list[msgspec.Raw] = []
    for row, shape in zip(rows, shapes, strict=True):
        getter = getters.get(shape)
        found.extend(getter(row) if getter is not None else [row[key] for key in free[shape]])
    return found


def _sound_values(raws: list[msgspec.Raw]) -> bool:
    """Whether none is nested too deep or holds a NUL; raises where JSON cannot carry one."""
    values = _values.decode(_array(raws))
    if _NUL in "".join([value for value in values if type(value) is str]):
        return False
    kinds = list(map(type, values))
    return _NESTED.isdisjoint(kinds) or not any(
        looks_odd(b"[" + bytes(raw) + b"]")
        for raw, kind in zip(raws, kinds, strict=True)
        if kind in _NESTED
    )


def _is_sound(messages: list[_Message]) -> bool:
    """Whether a conversation is plainly sound; one with calls or parts is looked at closely."""
    if not messages or messages[-1].role != "user":
        return False
    for message in messages:
        content = message.content
        if (
            type(content) is not str
            or _NUL in content
            or message.role == "tool"
            or message.tool_calls is not None
            or message.tool_call_id is not None
            or message.name is not None
        ):
            return _is_sound_closely(messages)
    return True


def _is_sound_closely(messages: list[_Message]) -> bool:
    found = message_problems(0, list(messages))
    return not any(found) and b"\\u0000" not in msgspec.json.encode(messages)
