"""The rows of the turns view: a turn, its bar on the group's axis, and whether it is open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jobs.views.bars import Axis, Bar, Per, axis_of, bar_words, formula, turn_bar
from jobs.views.credit import TurnCredit
from jobs.views.turns import TurnRow

MOST_INLINE, MOST_CHARACTERS = 40, 60_000
"""Turns whose texts are in the page itself; those of the others come when a row is opened."""


@dataclass(frozen=True)
class Line:
    """`is_inline`: its texts are on the page. `is_open`: it was asked for by its number."""

    row: TurnRow
    bar: Bar | None
    words: str
    formula: str
    is_inline: bool
    is_open: bool


@dataclass(frozen=True)
class Lines:
    """`heaviest`: the number of the turn with the largest advantage."""

    axis: Axis
    is_group_axis: bool
    lines: list[Line]
    heaviest: int | None


def turn_lines(
    rows: Sequence[TurnRow],
    *,
    summaries: Sequence[Mapping[str, Any]],
    per: Per,
    reward: float | None,
    group_mean: float | None,
    gamma: float | None,
    opened: int | None,
) -> Lines:
    """`summaries`: the stored credit of all attempts of the group, for one axis."""
    key = "reach" if per == "token" else "reach_turn"
    known = [float(summary[key]) for summary in summaries]
    axis = axis_of([*known, *(_reach(row.credit, per) for row in rows)], per)
    lines, characters = [], 0
    for row in rows:
        characters += row.size
        is_open = row.number == opened
        inline = is_open or (row.number <= MOST_INLINE and characters <= MOST_CHARACTERS)
        name = ", ".join(call.call.name for call in row.calls) or "answer"
        lines.append(
            Line(
                row=row,
                bar=turn_bar(row.credit, axis),
                words=bar_words(row.number, name, row.credit),
                formula=formula(row.credit, reward=reward, group_mean=group_mean, gamma=gamma),
                is_inline=inline,
                is_open=is_open,
            )
        )
    return Lines(axis, bool(known), lines, _heaviest(rows, per))


def _reach(credit: TurnCredit, per: Per) -> float:
    gains = sum(term.value for term in credit.terms if term.value > 0)
    losses = -sum(term.value for term in credit.terms if term.value < 0)
    return max(gains, losses) * (credit.tokens if per == "turn" else 1)


def _heaviest(rows: Sequence[TurnRow], per: Per) -> int | None:
    trained = [row for row in rows if row.credit.total is not None]
    if not trained:
        return None

    def weight(row: TurnRow) -> float:
        return abs(row.credit.total or 0.0) * (row.credit.tokens if per == "turn" else 1)

    return max(trained, key=weight).number
