"""A group of attempts at one task: merged as a prefix tree, and two of them side by side."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_POST

from hone.accounts.requests import MemberRequest
from hone.core import figures
from hone.core.errors import UserError
from jobs.engine import types
from jobs.models import Job, Trajectory
from jobs.selectors import access_job, trajectory_body
from jobs.selectors.trajectories import leading_run
from jobs.selectors.tries import Divergence, Merge, Node, common_turns, first_divergence, trie
from jobs.services.replays import USUAL, replay_sides_create
from jobs.views.etags import tagged
from jobs.views.headings import heading
from jobs.views.messages import tell
from jobs.views.split_sides import MOST_SIDES, parting_turn, split_sides
from jobs.views.trie_drawing import drawing_of
from jobs.views.turns import indented
from jobs.views.word_diffs import Piece, word_diff

_GROUP = re.compile(r"(\d{1,9})-(train|validation|preflight)-([^\x00]+)")
MOST_MEMBERS = 64
MOST_BYTES = 24 * 1024 * 1024
"""Packed bodies of a group that one page opens."""
MOST_TURNS_BESIDE = 40


@dataclass(frozen=True)
class Beside:
    """The same turn of two attempts; empty where one had ended."""

    number: int
    left: tuple[Piece, ...]
    right: tuple[Piece, ...]
    differing: int


@dataclass(frozen=True)
class SideBySide:
    """Two attempts from where they part on; `same`: the turns they have in common before."""

    left: Trajectory
    right: Trajectory
    same: int
    turns: list[Beside]
    left_out: int


@require_GET
def group_page(request: MemberRequest, job_id: str, group: str) -> HttpResponseBase:
    """All attempts at one task in one step; `group` is as `Trajectory.group_id` says it."""
    job = access_job(request.user, job_id)
    rows = _members(job, group)
    graded = [row.reward for row in rows if row.reward is not None]
    context = {
        **heading(request, job, "trajectories"),
        "first": rows[0],
        "siblings": rows,
        "graded": len(graded),
        "group_mean": sum(graded) / len(graded) if graded else None,
        **group_reading(request, rows, None, {}),
    }
    return tagged(request, render(request, "jobs/group.html", context))


@require_POST
def measure_sides(request: MemberRequest, job_id: str, group: str) -> HttpResponseBase:
    """Queue a measurement of the sides that were shown, at the turn at which they part."""
    job = access_job(request.user, job_id, need="write")
    given, turn = request.POST.getlist("trajectory"), request.POST.get("turn", "")
    wanted = {int(pk) for pk in given[:MOST_SIDES] if pk.isdecimal() and len(pk) < 19}
    rows = [row for row in _members(job, group, wanted) if row.pk in wanted]
    if not rows or not turn.isdecimal() or len(turn) > 9:
        messages.error(request, "Nothing was measured: the sides of a split were not named.")
        return redirect("job-group", job_id, group)
    try:
        replay_sides_create(acting_user=request.user, trajectories=rows, turn=int(turn) - 1)
        named = " and ".join(row.uid for row in rows)
        messages.success(
            request, f"Turn {turn} of {named} is measured as soon as a training worker is free."
        )
    except UserError as error:
        tell(request, error)
    merged = "?merge=tokens" if request.GET.get("merge") == "tokens" else ""
    return redirect(f"{reverse('job-group', args=[job_id, group])}{merged}")


def _members(job: Job, group: str, wanted: Collection[int] = ()) -> list[Trajectory]:
    """The first of the group, or those that are wanted; 404 where there is none."""
    named = _GROUP.fullmatch(group)
    rows: list[Trajectory] = []
    if named is not None:
        step, split, name = named.groups()
        members = Trajectory.objects.filter(
            run_id=leading_run(job), step=int(step), split=split, group=name
        )
        members = members.filter(pk__in=wanted) if wanted else members
        rows = list(members.order_by("sample", "pk")[:MOST_MEMBERS])
    if not rows:
        raise Http404("There is nothing here that you can see.")
    return rows


def group_reading(
    request: HttpRequest,
    siblings: Sequence[Trajectory],
    here: Trajectory | None,
    read: Mapping[int, types.Trajectory],
) -> dict[str, Any]:
    """The tree of a group and what it says. `read`: bodies by id that are open already."""
    merge: Merge = "tokens" if request.GET.get("merge") == "tokens" else "action"
    rows, bodies, closed = _bodies(siblings, read)
    if not rows:
        return {"merge": merge, "closed": closed}
    root = trie(bodies, merge)
    divergence = first_divergence(root, [row.reward for row in rows])
    sides = split_sides(divergence, rows, bodies)
    place = next((at for at, row in enumerate(rows) if here and row.pk == here.pk), None)
    return {
        "merge": merge,
        "drawing": drawing_of(root, rows, here=place, divergence=divergence),
        "divergence": divergence,
        "divergence_words": divergence_words(divergence),
        "divergence_turn": parting_turn(divergence) + 1 if divergence else None,
        "sides": sides,
        "may_measure": not any(side.is_open for side in sides),
        "usual": USUAL,
        "beside": _side_by_side(request, rows, bodies, root, place),
        "members": rows,
        "closed": closed,
    }


def divergence_words(found: Divergence | None) -> str:
    """What the split explains, how sure, and what it is not."""
    if found is None:
        return "No single divergence explains this group."
    test = "exact test" if found.is_exact else "permutation test, drawn"
    return (
        f"This split explains {figures.share(found.explained)} of the reward variance among "
        f"{found.graded} graded siblings ({test} p = {found.p:.2f}). Association, not cause."
    )


def _bodies(
    siblings: Sequence[Trajectory], read: Mapping[int, types.Trajectory]
) -> tuple[list[Trajectory], list[types.Trajectory], int]:
    """What can be opened within the limit, and how many are left out."""
    rows: list[Trajectory] = []
    bodies: list[types.Trajectory] = []
    opened = 0
    for row in siblings:
        opened += row.length
        if opened > MOST_BYTES and row.pk not in read:
            continue
        try:
            bodies.append(read.get(row.pk) or trajectory_body(row))
        except UserError:
            continue
        rows.append(row)
    return rows, bodies, len(siblings) - len(rows)


def _side_by_side(
    request: HttpRequest,
    rows: Sequence[Trajectory],
    bodies: Sequence[types.Trajectory],
    root: Node,
    here: int | None,
) -> SideBySide | None:
    """The two that the address names; else the one looked at and the least like it in reward."""
    if len(rows) < 2:
        return None
    left = _chosen(request, "left", rows)
    if left is None:
        left = here or 0
    right = _chosen(request, "right", rows)
    if right is None or right == left:
        mine = rows[left].reward or 0.0
        others = [at for at in range(len(rows)) if at != left]
        right = max(others, key=lambda at: (abs((rows[at].reward or 0.0) - mine), -at))
    same = common_turns(root, left, right)
    longest = max(len(bodies[left].turns), len(bodies[right].turns))
    shown = range(same, min(longest, same + MOST_TURNS_BESIDE))
    return SideBySide(
        left=rows[left],
        right=rows[right],
        same=same,
        turns=[_beside(bodies[left], bodies[right], turn) for turn in shown],
        left_out=max(0, longest - same - MOST_TURNS_BESIDE),
    )


def _beside(left: types.Trajectory, right: types.Trajectory, turn: int) -> Beside:
    ours, theirs = word_diff(_told(left, turn), _told(right, turn))
    return Beside(turn + 1, ours, theirs, sum(piece.is_own for piece in (*ours, *theirs)))


def _told(body: types.Trajectory, turn: int) -> str:
    """What was done and what came back, in short."""
    if turn >= len(body.turns):
        return ""
    made = body.turns[turn]
    if not made.calls:
        return made.content or made.text
    return "\n".join(
        f"{call.name} {indented(call.arguments)}\n→ {(call.output or call.error)[:400]}"
        for call in made.calls
    )


def _chosen(request: HttpRequest, name: str, rows: Sequence[Trajectory]) -> int | None:
    given = request.GET.get(name, "")
    return next((at for at, row in enumerate(rows) if str(row.pk) == given), None)
