"""The token strip: the tokens of one turn, coloured by what the address asks for."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from django.http import HttpRequest

from hone.core.figures import visible
from jobs.engine.credit.attribution import token_advantages
from jobs.engine.types import TokenKind, Trajectory
from jobs.models import Job
from jobs.selectors.decoding import Decode, decoder_of
from jobs.views.bins import legend, signed_bin
from jobs.views.ratios import Mismatch, Ratios, ratios_of

Mode = Literal["advantage", "logprob", "entropy", "ratio", "mask"]
MODES: tuple[Mode, ...] = get_args(Mode)
MOST_TOKENS = 2_000
MERGED: frozenset[Mode] = frozenset({"advantage", "mask"})
ADVANTAGES = ("under −0.3", "to −0.1", "to 0", "0", "to +0.1", "to +0.3", "over +0.3")
LOGPROB_EDGES = (-0.1, -1.0, -3.0)
ENTROPY_EDGES = (0.1, 0.7, 1.5)
KINDS = {
    TokenKind.PROMPT: ("P", "prompt"),
    TokenKind.SAMPLED: ("S", "sampled"),
    TokenKind.TOOL: ("T", "tool"),
    TokenKind.SCAFFOLD: ("C", "scaffold"),
    TokenKind.LOOP: ("L", "loop, masked"),
}


@dataclass(frozen=True)
class Run:
    """Neighbours drawn as one element: `first` is the place of its first token."""

    text: str
    classes: str
    first: int
    last: int


@dataclass(frozen=True)
class Strip:
    """One turn's tokens from where the one before ended. `tokens` is what the inspector reads."""

    number: int
    first: int
    last: int
    runs: list[Run]
    tokens: list[dict[str, Any]]
    left_out: int
    focus: int
    legend: list[tuple[str, str]]
    note: str
    mismatch: Mismatch | None
    """Of the turn's own tokens."""


def token_reading(request: HttpRequest, job: Job, body: Trajectory) -> dict[str, Any]:
    """`?turn=` counts from 1, `?token=` from the beginning of the trajectory, `?colour=` a mode."""
    wanted = request.GET.get("colour", "advantage")
    mode: Mode = next((each for each in MODES if each == wanted), "advantage")
    decode = decoder_of(job.base_model)
    context: dict[str, Any] = {
        "mode": mode,
        "modes": MODES,
        "next_mode": MODES[(MODES.index(mode) + 1) % len(MODES)],
        "kinds": [(letter, kind.name.lower(), words) for kind, (letter, words) in KINDS.items()],
        "is_decoded": decode is not None,
        "strip": None,
    }
    if not body.turns:
        return context
    token = _number(request, "token")
    turn = _number(request, "turn")
    if turn is None:
        turn = _turn_of(body, token) if token is not None else 1
    number = min(max(turn, 1), len(body.turns))
    context["strip"] = strip_of(body, number, mode, decode, ratios_of(job, body), focus=token)
    return context


def strip_of(
    body: Trajectory,
    number: int,
    mode: Mode,
    decode: Decode | None,
    ratios: Ratios,
    *,
    focus: int | None = None,
) -> Strip:
    """The tokens that lead to turn `number` and its own, the newest 2,000 of them."""
    turn = body.turns[number - 1]
    before = body.turns[number - 2].end if number > 1 else 0
    last = turn.end if number < len(body.turns) else len(body.ids)
    first = max(before, min(turn.start, last - MOST_TOKENS))
    last = min(last, first + MOST_TOKENS)
    places = range(first, last)
    advantages = token_advantages(body) if body.trained else None
    texts = [decode(body.ids[at]) if decode else f"#{body.ids[at]} " for at in places]
    classes = [_classes(body, at, mode, advantages, ratios) for at in places]
    tokens = [
        _told(body, at, text, advantages) | {"ratio": ratios.of(at)}
        for at, text in zip(places, texts, strict=True)
    ]
    at_focus = focus if focus is not None and focus in places else max(first, turn.start)
    return Strip(
        number=number,
        first=first,
        last=last - 1,
        runs=_runs(texts, classes, first, merge=mode in MERGED, apart=focus),
        tokens=tokens,
        left_out=first - before,
        focus=min(at_focus, last - 1),
        legend=ratios.legend() if mode == "ratio" else _legend(mode),
        note=ratios.reason if mode == "ratio" else "",
        mismatch=ratios.mismatch(turn),
    )


def _told(
    body: Trajectory, at: int, text: str, advantages: Sequence[float] | None
) -> dict[str, Any]:
    kind = TokenKind(body.kinds[at])
    trained = kind is TokenKind.SAMPLED and at > 0 and advantages is not None
    sampled = kind in {TokenKind.SAMPLED, TokenKind.LOOP}
    return {
        "at": at,
        "id": body.ids[at],
        "text": visible(text).replace("\n", "⏎"),
        "kind": KINDS[kind][1],
        "logprob": _finite(body.logprobs[at]) if sampled else None,
        "entropy": _finite(body.entropies[at]) if sampled else None,
        "advantage": round(advantages[at], 4) if trained and advantages else None,
    }


def _finite(value: float) -> float | None:
    return round(value, 4) if math.isfinite(value) else None


def _classes(
    body: Trajectory, at: int, mode: Mode, advantages: Sequence[float] | None, ratios: Ratios
) -> str:
    """The kind of the token without colour, then its bin; what was not sampled has no bin."""
    kind = TokenKind(body.kinds[at])
    name = f"k-{kind.name.lower()}"
    if mode == "mask" or kind not in {TokenKind.SAMPLED, TokenKind.LOOP}:
        return name
    if mode == "advantage":
        trained = kind is TokenKind.SAMPLED and advantages is not None and at > 0
        return f"{name} {signed_bin(advantages[at])}" if trained and advantages else name
    if mode == "ratio":
        return f"{name} {ratios.classes(at)}".rstrip()
    if mode == "logprob":
        return f"{name} q{sum(body.logprobs[at] < edge for edge in LOGPROB_EDGES)}"
    return f"{name} q{sum(body.entropies[at] > edge for edge in ENTROPY_EDGES)}"


def _runs(
    texts: Sequence[str], classes: Sequence[str], first: int, *, merge: bool, apart: int | None
) -> list[Run]:
    """Equal neighbours are one element where the mode has nothing to tell them apart; the token
    that the address names is always one of its own."""
    runs: list[Run] = []
    for at, (text, own) in enumerate(zip(texts, classes, strict=True), start=first):
        joins = merge and runs and runs[-1].classes == own and apart not in {at, at - 1}
        if joins:
            runs[-1] = Run(runs[-1].text + _shown(text), own, runs[-1].first, at)
        else:
            runs.append(Run(_shown(text), own, at, at))
    return runs


def _shown(text: str) -> str:
    return text.replace("\n", "⏎\n")


def _legend(mode: Mode) -> list[tuple[str, str]]:
    """Class and words of each bin."""
    levels: dict[Mode, Callable[[int], str]] = {
        "logprob": lambda at: ("over −0.1", "to −1", "to −3", "under −3")[at],
        "entropy": lambda at: ("to 0.1", "to 0.7", "to 1.5", "over 1.5 nats")[at],
    }
    if mode == "advantage":
        return legend(ADVANTAGES)
    if mode in levels:
        return [(f"q{at}", levels[mode](at)) for at in range(4)]
    return []


def _turn_of(body: Trajectory, token: int) -> int:
    return next(
        (at for at, turn in enumerate(body.turns, start=1) if token < turn.end), len(body.turns)
    )


def _number(request: HttpRequest, name: str) -> int | None:
    given = request.GET.get(name, "")
    return int(given) if given.isdecimal() and len(given) < 10 else None
