"""Two texts compared word by word."""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import SequenceMatcher

MOST_WORDS = 600
_WORD = re.compile(r"\s+|[^\W_]+|[\W_]")


@dataclass(frozen=True)
class Piece:
    """A run of words; `is_own`: the other text does not have it here."""

    text: str
    is_own: bool = False


def word_diff(left: str, right: str) -> tuple[tuple[Piece, ...], tuple[Piece, ...]]:
    """The pieces of each, in order. Beyond 600 words or signs, what follows is not compared."""
    ours, theirs = (_WORD.findall(text)[:MOST_WORDS] for text in (left, right))
    matcher = SequenceMatcher(None, ours, theirs, autojunk=False)
    first: list[Piece] = []
    second: list[Piece] = []
    for kind, i1, i2, j1, j2 in matcher.get_opcodes():
        same = kind == "equal"
        if i2 > i1:
            first.append(Piece("".join(ours[i1:i2]), not same))
        if j2 > j1:
            second.append(Piece("".join(theirs[j1:j2]), not same))
    for pieces, words, text in ((first, ours, left), (second, theirs, right)):
        rest = text[len("".join(words)) :]
        if rest:
            pieces.append(Piece("…"))
    return tuple(first), tuple(second)
