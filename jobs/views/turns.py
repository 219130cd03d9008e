"""One trajectory as rows to read: what each turn said, called and got back. All of it is text."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from jobs.engine.metrics import LOOP_STOPS, REPEATS_OF_A_LOOP
from jobs.engine.rollout.loops import TOOL_LOOP_WARNING, canonical_arguments
from jobs.engine.types import LIMIT_STOPS, UNKNOWN_TOOL, TokenKind, ToolCall, Trajectory, Turn
from jobs.views.credit import TurnCredit, turn_credits
from jobs.views.replays import Measurement
from jobs.views.texts import ARGUMENT_LINES, Cut, cut, loop_at_end
from jobs.words import ASKED, CALL_WORDS, NO_SUCH_TOOL, STOP_WORDS

HEADLINE = 120
LATENCY_PX = 60
QUICKEST, DECADES = 0.01, 4
"""The latency bar goes from 10 ms to 100 s."""


@dataclass(frozen=True)
class CallRow:
    """One tool call. `repeats` is the number of the turn that made the same call first."""

    place: int
    call: ToolCall
    arguments: Cut
    output: Cut
    status: str
    error: str
    """What went wrong, where the result does not say it."""
    warning: str
    """What the platform added to the result because the call repeats."""
    repeats: int | None
    same: int
    """How many calls so far had the same name, arguments and result, itself among them."""
    headline: str
    result: str
    """The beginning of what came back, in a line."""

    @property
    def latency_px(self) -> int:
        """On one log scale for all calls, from 10 ms to 100 s."""
        decades = math.log10(max(self.call.seconds, QUICKEST) / QUICKEST)
        return max(1, round(LATENCY_PX * min(decades / DECADES, 1.0)))


@dataclass(frozen=True)
class TokenLoop:
    """Repeated tokens at the end of a turn; `text` is what was folded away."""

    period: int
    times: int
    trained: int
    masked: int
    text: Cut


@dataclass(frozen=True)
class TurnRow:
    """One turn; numbers start at 1. `raw` is set where the parser understood nothing of it."""

    number: int
    tokens: int
    seconds: float
    headline: str
    reasoning: Cut
    content: Cut
    raw: Cut
    calls: tuple[CallRow, ...]
    credit: TurnCredit
    is_last: bool
    loop: TokenLoop | None = None
    size: int = 0
    """Characters of its texts that a page shows at first."""
    measurements: tuple[Measurement, ...] = ()
    may_measure: bool = False

    @property
    def gutter(self) -> str:
        """Signs beside its number: fault, not understood, repeated."""
        statuses = {row.call.status for row in self.calls}
        signs = ("⚠" if "fault" in statuses else "", "¿" if self.raw else "")
        again = "↺" if any(row.repeats for row in self.calls) or self.loop else ""
        return "".join((*signs, again))


def turn_rows(
    trajectory: Trajectory,
    *,
    continuations_train: bool = False,
    measured: Mapping[int, tuple[Measurement, ...]] | None = None,
) -> list[TurnRow]:
    """The turns in order, with repeated calls marked and with what each was trained on.

    `continuations_train`: the job's measured continuations were a term of the advantage.
    `measured`: what was measured on demand, by turn.
    """
    credits = turn_credits(trajectory, continuations_train=continuations_train)
    seen = _Seen()
    last = len(trajectory.turns)
    rows = [
        _turn_row(trajectory, turn, number, seen, credit=credit, is_last=number == last)
        for number, (turn, credit) in enumerate(
            zip(trajectory.turns, credits, strict=True), start=1
        )
    ]
    trains = trajectory.split == "train"
    return [
        _with_measurements(row, (measured or {}).get(row.number - 1, ()), trains) for row in rows
    ]


class _Seen:
    """The calls so far: who made one first, and how often one had the same result."""

    def __init__(self) -> None:
        self.first: dict[tuple[str, str], int] = {}
        self.results: dict[tuple[str, str, str | None], int] = {}


def _with_measurements(row: TurnRow, found: tuple[Measurement, ...], trains: bool) -> TurnRow:
    is_open = any(each.is_open for each in found)
    may_measure = trains and bool(row.calls) and not row.is_last and not is_open
    return replace(row, measurements=found, may_measure=may_measure)


def _turn_row(
    trajectory: Trajectory,
    turn: Turn,
    number: int,
    seen: _Seen,
    *,
    credit: TurnCredit,
    is_last: bool,
) -> TurnRow:
    going = trajectory.stop is None
    calls = tuple(_call_row(call, at, number, seen, going) for at, call in enumerate(turn.calls))
    understood = bool(turn.reasoning or turn.content or turn.calls)
    loop = _token_loop(trajectory, turn)
    texts = {
        "reasoning": turn.reasoning,
        "content": turn.content,
        "raw": "" if understood else turn.text,
    }
    shown = {name: cut(_without_loop(text) if loop else text) for name, text in texts.items()}
    said = turn.content or turn.reasoning or turn.text
    spoken = "“" + _line(said) + "”" if said else "(nothing)"
    texts_size = sum(len(each.shown) for each in shown.values())
    return TurnRow(
        number=number,
        tokens=turn.end - turn.start,
        seconds=turn.seconds,
        headline=", ".join(row.headline for row in calls) or spoken,
        calls=calls,
        credit=credit,
        is_last=is_last,
        loop=loop,
        size=texts_size + sum(len(row.arguments.shown) + len(row.output.shown) for row in calls),
        reasoning=shown["reasoning"],
        content=shown["content"],
        raw=shown["raw"],
    )


def _call_row(call: ToolCall, place: int, number: int, seen: _Seen, going: bool) -> CallRow:
    """`going`: the rollout has not ended, so a call without an answer may still get one."""
    asked = (call.name, canonical_arguments(call.arguments))
    output = call.output or ""
    warned = output.endswith(TOOL_LOOP_WARNING)
    plain = output.removesuffix(TOOL_LOOP_WARNING)
    got = (*asked, None if call.output is None else plain)
    seen.results[got] = seen.results.get(got, 0) + 1
    before = seen.first.setdefault(asked, number)
    return CallRow(
        place=place,
        call=call,
        arguments=cut(indented(call.arguments), lines=ARGUMENT_LINES),
        output=cut(plain),
        status=_status(call, going),
        error=_error(call),
        warning=TOOL_LOOP_WARNING.strip() if warned else "",
        repeats=before if before < number else None,
        same=seen.results[got],
        headline=f"{call.name} {_line(call.arguments)}",
        result=_line(plain),
    )


def _status(call: ToolCall, going: bool) -> str:
    if _is_unknown(call):
        return NO_SUCH_TOOL
    return ASKED if going and call.status == "pending" else CALL_WORDS[call.status]


def call_text(call: ToolCall, what: str) -> str:
    """The whole text that a call's block shows the beginning of."""
    if what == "arguments":
        return indented(call.arguments)
    return (call.output or "").removesuffix(TOOL_LOOP_WARNING)


def turn_text(trajectory: Trajectory, turn: Turn, what: str) -> str:
    """The whole text that a turn's block shows the beginning of."""
    whole = {"reasoning": turn.reasoning, "content": turn.content, "raw": turn.text}[what]
    return _without_loop(whole) if _token_loop(trajectory, turn) else whole


def _line(text: str) -> str:
    return " ".join(text[: 4 * HEADLINE].split())[:HEADLINE] + ("…" if len(text) > HEADLINE else "")


def _token_loop(trajectory: Trajectory, turn: Turn) -> TokenLoop | None:
    kinds = trajectory.kinds[turn.start : turn.end]
    masked = sum(kind == TokenKind.LOOP for kind in kinds)
    if not masked:
        return None
    found = loop_at_end(trajectory.ids[turn.start : turn.end])
    whole = turn.text
    folded = whole[len(_without_loop(whole)) :]
    if found is None:
        return TokenLoop(0, 0, 0, masked, cut(folded))
    trained = max(0, len(kinds) - found.start - masked)
    return TokenLoop(found.period, found.times, trained, masked, cut(folded))


def _without_loop(text: str) -> str:
    """The text with the first two periods of what it repeats at its end."""
    found = loop_at_end(text)
    return text if found is None else text[: found.kept]


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
    masked = sum(row.loop.masked for row in rows if row.loop)
    if masked:
        repeated += f" {masked} of {trajectory.sampled_tokens} sampled tokens are masked."
    if trajectory.reward is None:
        cause = f" ({trajectory.cause})" if trajectory.cause else ""
        return (
            f"Ungraded: {stop}{cause}. It has no reward and is in no group mean, gradient or "
            f"average.{repeated}"
        )
    capped = "; limits and loops earn at most 0" if trajectory.stop in LIMIT_STOPS else ""
    return f"Ended with {stop} at turn {len(rows)}{capped}.{repeated}"
