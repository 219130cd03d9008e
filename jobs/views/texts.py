"""Long texts in steps: a beginning that is shown, and more by the kilobyte when asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

FIRST_CHARACTERS = 4_000
FIRST_LINES = 40
ARGUMENT_LINES = 12
STEP_CHARACTERS = 16_000
FEWEST_PERIODS = 4
SHORTEST_LOOP = 96
LONGEST_SEARCHED = 20_000


@dataclass(frozen=True)
class Cut:
    """A text of which `shown` is on the page; `left` characters follow from `offset` on."""

    shown: str
    offset: int = 0
    left: int = 0

    def __bool__(self) -> bool:
        return bool(self.shown)

    @property
    def step(self) -> int:
        """How many characters the next step shows."""
        return min(self.left, STEP_CHARACTERS)


def cut(text: str, *, lines: int = FIRST_LINES, characters: int = FIRST_CHARACTERS) -> Cut:
    """The first lines or characters, whichever ends sooner. One line stays one line."""
    head = text[:characters]
    at = len(head)
    pieces = head.split("\n", lines)
    if len(pieces) > lines:
        at = len("\n".join(pieces[:lines]))
    return Cut(text[:at], at, len(text) - at)


def more(text: str, offset: int) -> Cut:
    """The next step of a text."""
    end = min(len(text), offset + STEP_CHARACTERS)
    return Cut(text[offset:end], end, len(text) - end)


@dataclass(frozen=True)
class Loop:
    """A repetition at the end of a text or of tokens: it begins at `start`; lengths are of what
    was searched, characters or tokens."""

    start: int
    period: int
    times: int

    @property
    def kept(self) -> int:
        """Where the first two periods end, which stay."""
        return self.start + 2 * self.period


def loop_at_end(items: Sequence[object]) -> Loop | None:
    """The longest part at the end that repeats one period at least four times.

    By the prefix function of the reversed end (Knuth, Morris and Pratt): a prefix of length L with
    a border of length b has the period L - b.
    """
    offset = max(0, len(items) - LONGEST_SEARCHED)
    reversed_ = list(items[offset:])[::-1]
    borders = [0] * len(reversed_)
    found: Loop | None = None
    for at in range(1, len(reversed_)):
        border = borders[at - 1]
        while border and reversed_[at] != reversed_[border]:
            border = borders[border - 1]
        if reversed_[at] == reversed_[border]:
            border += 1
        borders[at] = border
        length = at + 1
        period = length - border
        if length >= SHORTEST_LOOP and length >= FEWEST_PERIODS * period:
            found = Loop(len(items) - length, period, length // period)
    return found
