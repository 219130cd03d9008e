"""Rows that all have the same keys, flat values and plain messages, read in one pass. Pure.

Most files are like that: a decoder is made for the keys of their rows. Whatever does not fit it is
no fault; it only needs the general way.
"""

from __future__ import annotations

from itertools import chain
from operator import attrgetter
from typing import Annotated, Any, Literal

import msgspec

MOST_KEYS = 50
_NUL = "\x00"
_NESTED = frozenset({dict, list})


class _Plain(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    role: Literal["developer", "system", "user", "assistant"]
    content: str
    weight: int | None = None


_Conversation = Annotated[list[_Plain], msgspec.Meta(min_length=1)]
_TYPES: dict[str, Any] = {"messages": _Conversation, "tools": msgspec.Raw}


class Shape:
    """The keys of such rows; `messages` is one of them, and at most fifty in all."""

    def __init__(self, keys: tuple[str, ...]) -> None:
        self.keys = keys
        names = {key: f"f{place}" for place, key in enumerate(keys)}
        row = msgspec.defstruct(
            "Row",
            [(names[key], _TYPES.get(key, Any)) for key in keys],
            rename={name: key for key, name in names.items()},
            forbid_unknown_fields=True,
            gc=False,
        )
        self._decoder = msgspec.json.Decoder(row)
        self._messages = attrgetter(names["messages"])
        self._tools = attrgetter(names["tools"]) if "tools" in names else None
        self._free = [attrgetter(name) for key, name in names.items() if key not in _TYPES]

    def read(self, text: bytes, count: int) -> list[msgspec.Raw] | None:
        """The tools of each row, if `text` is `count` sound rows of this shape but for these;
        raises as msgspec does, or returns None, where it may not be."""
        rows = self._decoder.decode_lines(text)
        if len(rows) != count:
            return None
        conversations = list(map(self._messages, rows))
        if not all([messages[-1].role == "user" for messages in conversations]):
            return None
        values = list(chain.from_iterable(map(getter, rows) for getter in self._free))
        if not _NESTED.isdisjoint(map(type, values)):
            return None
        texts = [value for value in values if type(value) is str]
        texts += [message.content for messages in conversations for message in messages]
        if _NUL in "".join(texts):
            return None
        return list(map(self._tools, rows)) if self._tools is not None else []
