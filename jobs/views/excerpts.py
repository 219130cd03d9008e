"""Where the words that were looked for stand in an excerpt."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

BEFORE, LONGEST = 60, 200
"""Characters before the first hit, and shown in all."""


@dataclass(frozen=True)
class Piece:
    """A part of a text; `is_hit`: one of the words that were looked for."""

    text: str
    is_hit: bool = False


def snippet(text: str, words: Sequence[str]) -> tuple[Piece, ...]:
    """What stands around the first hit, with every hit in it marked; the last word may be the
    beginning of one. Empty where there is none."""
    if not words:
        return ()
    any_word = "|".join(re.escape(word) for word in sorted(words[:-1], key=len, reverse=True))
    last = rf"{re.escape(words[-1])}[^\W_]*"
    whole = rf"(?:{any_word})(?![^\W_])|{last}" if any_word else last
    hits = list(re.finditer(rf"(?<![^\W_])(?:{whole})", text, re.IGNORECASE))
    if not hits:
        return ()
    start = max(0, hits[0].start() - BEFORE)
    end = min(len(text), start + LONGEST)
    pieces = [Piece("…")] if start else []
    at = start
    for hit in hits:
        if hit.end() > end:
            break
        pieces += [Piece(text[at : hit.start()]), Piece(hit.group(), is_hit=True)]
        at = hit.end()
    pieces.append(Piece(text[at:end] + ("…" if end < len(text) else "")))
    return tuple(piece for piece in pieces if piece.text)
