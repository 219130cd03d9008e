"""One task's trajectories before and after, side by side; these two bodies alone are opened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from django.http import Http404, QueryDict

from hone.core.errors import UserError
from jobs.forms.compare import number
from jobs.forms.filters import address
from jobs.models import Trajectory
from jobs.selectors.bodies import trajectory_body
from jobs.selectors.compare.sides import Side
from jobs.selectors.compare.tasks import attempts
from jobs.selectors.tasks import task
from jobs.views.texts import cut
from jobs.views.turns import TurnRow, turn_rows, verdict

MOST_ATTEMPTS = 100


@dataclass(frozen=True)
class Other:
    """Another attempt of the same side; its link puts it in the place of the one shown."""

    trajectory: Trajectory
    address: str
    is_here: bool


@dataclass(frozen=True)
class Half:
    """One side's attempt. `turns` are those after what both have in common."""

    side: Side
    others: list[Other]
    trajectory: Trajectory | None = None
    turns: tuple[TurnRow, ...] = ()
    verdict: str = ""
    unreadable: str = ""


def task_side_by_side(
    query: QueryDict, before: Side, after: Side, *, row: int
) -> dict[str, Any] | None:
    """What the page shows of a validation task (zero-based row); None where neither tried it."""
    halves = [_half(query, side, row, name) for side, name in ((before, "left"), (after, "right"))]
    if not any(half.trajectory for half in halves):
        return None
    shared = _shared(halves[0].turns, halves[1].turns)
    some = next(half for half in halves if half.trajectory)
    assert some.trajectory is not None
    asked = task(some.side.job, some.trajectory)
    return {
        "row": row,
        "prompt": [{"role": each["role"], "text": cut(each["text"])} for each in asked.messages],
        "missing": asked.missing,
        "shared": halves[0].turns[:shared],
        "halves": [replace(half, turns=half.turns[shared:]) for half in halves],
    }


def _half(query: QueryDict, side: Side, row: int, name: str) -> Half:
    found = list(attempts(side, row)[:MOST_ATTEMPTS])
    if not found:
        return Half(side, [])
    wanted = number(query, name)
    chosen = found[0] if wanted is None else _of(found, wanted)
    others = [
        Other(each, address(query, **{name: each.pk}) + "#task", each.pk == chosen.pk)
        for each in found
    ]
    try:
        body = trajectory_body(chosen)
    except UserError as error:
        return Half(side, others, chosen, unreadable=error.message)
    rows = turn_rows(body)
    return Half(side, others, chosen, tuple(rows), verdict(body, rows))


def _of(found: Sequence[Trajectory], trajectory_id: int) -> Trajectory:
    chosen = next((each for each in found if each.pk == trajectory_id), None)
    if chosen is None:
        raise Http404("There is nothing here that you can see.")
    return chosen


def _shared(left: Sequence[TurnRow], right: Sequence[TurnRow]) -> int:
    """How many first turns did the same: the same calls, results and message."""
    same = 0
    for one, other in zip(left, right, strict=False):
        if _did(one) != _did(other):
            break
        same += 1
    return same


def _did(row: TurnRow) -> tuple[object, ...]:
    calls = tuple((each.call.name, each.arguments, each.call.output) for each in row.calls)
    return row.content, row.raw, calls
