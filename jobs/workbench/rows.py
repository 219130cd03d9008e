"""The rows of a comparison's table: both scores, what people say, and what made the gap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hone.core import figures
from jobs.models import ComparedScore, HumanMark
from jobs.workbench.selectors import marks_of

NOTHING = 1e-9


@dataclass(frozen=True)
class ScoreRow:
    """One trajectory; `change` is B minus A, `why` the part that moved most or the error."""

    score: ComparedScore
    change: float | None
    why: str
    mine: float | None
    others: list[HumanMark]


def score_rows(scores: Sequence[ComparedScore], user: Any) -> list[ScoreRow]:
    """What the table shows of them, with the marks of `user` apart."""
    marks = marks_of(score.trajectory for score in scores)
    rows = []
    for score in scores:
        given = marks.get(score.trajectory_id, [])
        mine = next((mark.value for mark in given if mark.user_id == user.pk), None)
        change = None if score.a is None or score.b is None else score.b - score.a
        others = [mark for mark in given if mark.user_id != user.pk]
        rows.append(ScoreRow(score, change, _why(score), mine, others))
    return rows


def _why(score: ComparedScore) -> str:
    """The error of a side that gave none, else the shared part that moved most."""
    for name, value, detail in (
        ("A", score.a, score.detail_a),
        ("B", score.b, score.detail_b),
    ):
        if value is None and detail:
            return f"{name}: {detail.get('message') or detail.get('code') or 'ungraded'}"
    first, second = score.detail_a.get("parts") or {}, score.detail_b.get("parts") or {}
    moves = [
        (abs(second[part] - first[part]), part)
        for part in first.keys() & second.keys()
        if isinstance(first[part], int | float) and isinstance(second[part], int | float)
    ]
    moved = max(moves, default=(0.0, ""))
    if moved[0] <= NOTHING:
        return ""
    part = moved[1]
    return f"{part} {figures.reward(first[part])} → {figures.reward(second[part])}"
