"""One trajectory as rows to read: what each turn said, called and got back. All of it is text."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from jobs.engine.metrics import LOOP_STOPS, REPEATS_OF_A_LOOP
from jobs.engine.types import LIMIT_STOPS, UNKNOWN_TOOL, ToolCall, Trajectory, Turn
from jobs.words import CALL_WORDS, NO_SUCH_TOOL, STOP_WORDS

FIRST_LINES = 40
FIRST_CHARACTERS = 4_000
MOST_CHARACTERS = 20_000


@dataclass(frozen=True)
class Cut:
    """A text in three parts: shown, folded, and so long that only the raw JSON has it."""

    head: str
    rest: str = ""
    left_out: int = 0

    def __bool__(self) -> bool:
        return bool(self.head)


@dataclass(frozen=True)
class CallRow:
    """One tool call. `repeats` is the number of the turn that made the same call first."""

    call: ToolCall
    arguments: Cut
    output: Cut
    status: str
    error: str
    """What went wrong, where the result does not say it."""
    repeats: int | None
    same: int
    """How many calls so far had the same name, arguments and result, itself among them."""


@dataclass(frozen=True)
class TurnRow:
    """One turn; numbers start at 1. `raw` is set where the parser understood nothing of it."""

    number: int
    tokens: int
    seconds: float
    reasoning: Cut
    content: Cut
    raw: Cut
    calls: tuple[CallRow, ...]
    is_last: bool


def cut(text: str) -> Cut:
    """The first 40 lines or 4,000 characters, what is folded, and how much is left out."""
    lines = text.split("\n", FIRST_LINES)
    at = len("\n".join(lines[:FIRST_LINES])) if len(lines) > FIRST_LINES else len(text)
    at = min(at, FIRST_CHARACTERS)
    rest = text[at:MOST_CHARACTERS]
    return Cut(text[:at], rest, max(0, len(text) - MOST_CHARACTERS))


def turn_rows(trajectory: Trajectory) -> list[TurnRow]:
    """The turns in order, with repeated calls marked."""
    first_made: dict[tuple[str, str], int] = {}
    results: dict[tuple[str, str, str | None], int] = {}
    last = len(trajectory.turns)
    return [
        _turn_row(turn, number, first_made, results, is_last=number == last)
        for number, turn in enumerate(trajectory.turns, start=1)
    ]


def _turn_row(
    turn: Turn,
    number: int,
    first_made: dict[tuple[str, str], int],
    results: dict[tuple[str, str, str | None], int],
    *,
    is_last: bool,
) -> TurnRow:
    calls = []
    for call in turn.calls:
        asked = (call.name, indented(call.arguments))
        got = (*asked, call.output)
        results[got] = results.get(got, 0) + 1
        before = first_made.setdefault(asked, number)
        calls.append(
            CallRow(
                call=call,
                arguments=cut(asked[1]),
                output=cut(call.output or ""),
                status=NO_SUCH_TOOL if _is_unknown(call) else CALL_WORDS[call.status],
                error=_error(call),
                repeats=before if before < number else None,
                same=results[got],
            )
        )
    understood = bool(turn.reasoning or turn.content or turn.calls)
    return TurnRow(
        number=number,
        tokens=turn.end - turn.start,
        seconds=turn.seconds,
        reasoning=cut(turn.reasoning),
        content=cut(turn.content),
        raw=cut("" if understood else turn.text),
        calls=tuple(calls),
        is_last=is_last,
    )


def _is_unknown(call: ToolCall) -> bool:
    return call.status == "malformed" and call.error.startswith(UNKNOWN_TOOL)


def _error(call: ToolCall) -> str:
    said = _is_unknown(call) or call.error in (call.output or "")
    return "" if said else call.error


def indented(arguments: str) -> str:
    """JSON arguments over several lines; what is no JSON stays as it is."""
    try:
        value = json.loads(arguments)
    except (ValueError, RecursionError):
        return arguments
    return json.dumps(value, indent=2, ensure_ascii=False)


def verdict(trajectory: Trajectory, rows: Sequence[TurnRow]) -> str:
    """How it ended and what came of it, in one line."""
    stop = STOP_WORDS.get(str(trajectory.stop), "unfinished")
    most = max((call.same for row in rows for call in row.calls), default=0)
    is_loop = most >= REPEATS_OF_A_LOOP or (most > 1 and trajectory.stop in LOOP_STOPS)
    repeated = f" The same call gave the same result {most} times." if is_loop else ""
    if trajectory.reward is None:
        cause = f" ({trajectory.cause})" if trajectory.cause else ""
        return (
            f"Ungraded: {stop}{cause}. It has no reward and is in no group mean, gradient or "
            f"average.{repeated}"
        )
    capped = "; limits and loops earn at most 0" if trajectory.stop in LIMIT_STOPS else ""
    return f"Ended with {stop} at turn {len(rows)}{capped}.{repeated}"
