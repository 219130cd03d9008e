"""Step credit from states that siblings share (GiGPO's step term, reference 2.1 and 2.3).

A turn is compared with all turns of its group that had just observed the same thing. Groups never
mix: the same observation under another task is another state. Torch-free.
"""

from __future__ import annotations

import hashlib
import json
import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from jobs.engine.credit.base import is_graded
from jobs.engine.rollout.loops import canonical_arguments
from jobs.engine.types import ToolCall, Trajectory, Turn

GAMMA = 0.95
"""Per turn, not per token: a long tool result does not make what came before it worth less."""
MIN_TRAJECTORIES = 2
MIN_SHARE = 0.10
MIN_EXPLAINED = 0.05
_Z = 1.96
_NO_SPREAD = 1e-12

Visit = tuple[str, int]
"""A turn: its trajectory's uid and its place in it."""
Anchors = dict[tuple[str, str], list[Visit]]
"""By group and state key, the turns that stood there; at least two trajectories each."""


class StepCredit(msgspec.Struct, frozen=True):
    """One turn's step term, before the gate's weight. `n`: the turns compared, this one included;
    0 where no sibling shares the state. A trajectory that comes back counts each time."""

    advantage: float = 0.0
    n: int = 0
    interval: tuple[float, float] | None = None


class Coverage(msgspec.Struct, frozen=True):
    """The gate's decision. `turns` and `anchored` leave out turn 0, as siblings always share it.

    `explained` is the adjusted eta squared of the action within all anchors, turn 0's among them:
    chance alone gives 0 on average and may give less.
    """

    turns: int
    anchored: int
    share: float
    explained: float
    weight: float
    reason: str


class AnchoredCredit(msgspec.Struct, frozen=True):
    """`steps` holds the graded trajectories only, by uid, one entry per turn."""

    steps: dict[str, list[StepCredit]]
    coverage: Coverage


def state_key(trajectory: Trajectory, turn: int) -> str | None:
    """What the policy has just observed; None where it is not known or nothing was.

    The arguments are left out on purpose: two calls that led to the same result led to the same
    place, and the comparison is of what is done from there.
    """
    if turn == 0:
        return _digest(["row", trajectory.row])
    calls = trajectory.turns[turn - 1].calls
    if not calls or any(_observed(call) is None for call in calls):
        return None
    return _digest(["seen", *([call.name, _observed(call)] for call in calls)])


def anchors_of(trajectories: Iterable[Trajectory], visits: Iterable[Visit]) -> Anchors:
    """Those of `visits` that stood where a different trajectory of the same group stood too."""
    by_uid = {trajectory.uid: trajectory for trajectory in trajectories}
    places: Anchors = defaultdict(list)
    for uid, turn in visits:
        key = state_key(by_uid[uid], turn)
        if key is not None:
            places[by_uid[uid].group, key].append((uid, turn))
    return {
        place: found
        for place, found in places.items()
        if len({uid for uid, _ in found}) >= MIN_TRAJECTORIES
    }


def anchored_credit(
    trajectories: Sequence[Trajectory],
    rewards: Mapping[str, float],
    *,
    gamma: float = GAMMA,
    weight: float = 1.0,
    min_share: float = MIN_SHARE,
    min_explained: float = MIN_EXPLAINED,
) -> AnchoredCredit:
    """GiGPO's A_step = G_t - mean of G over the anchor, G_t = gamma^(turns left) * reward.

    `rewards` are those trained with, by uid, so that shaping and the shuffled control reach the
    step term. Ungraded trajectories are in nothing. Give the groups that train: where all were
    solved, G differs by length only.
    """
    graded = [trajectory for trajectory in trajectories if is_graded(trajectory)]
    returns = {
        (member.uid, turn): gamma ** (len(member.turns) - 1 - turn) * rewards[member.uid]
        for member in graded
        for turn in range(len(member.turns))
    }
    anchors = anchors_of(graded, returns)
    found = {
        visit: credit
        for visits in anchors.values()
        for visit, credit in _anchor_credit(visits, returns).items()
    }
    steps = {
        member.uid: [found.get((member.uid, i), StepCredit()) for i in range(len(member.turns))]
        for member in graded
    }
    later = [visit for visit in returns if visit[1] > 0]
    anchored = sum(visit in found for visit in later)
    share = anchored / len(later) if later else 0.0
    explained = variance_explained(_by_action(graded, anchors, returns))
    reason = _objection(share, explained, min_share, min_explained)
    coverage = Coverage(
        turns=len(later),
        anchored=anchored,
        share=share,
        explained=explained,
        weight=0.0 if reason else weight,
        reason=reason or f"{share:.0%} of later turns share a state, actions explain returns",
    )
    return AnchoredCredit(steps, coverage)


def variance_explained(anchors: Sequence[Sequence[Sequence[float]]]) -> float:
    """Adjusted eta squared (Ezekiel's correction), pooled: returns by anchor, then by action.

    0 where every action was tried once only or the returns do not differ: nothing can be told
    from chance there.
    """
    cells = [cell for anchor in anchors for cell in anchor]
    total = sum(_squares([value for cell in anchor for value in cell]) for anchor in anchors)
    size = sum(len(cell) for cell in cells)
    free_total, free_error = size - len(anchors), size - len(cells)
    if free_error <= 0 or total <= _NO_SPREAD * size:
        return 0.0
    error = sum(_squares(cell) for cell in cells)
    return 1 - (error / free_error) / (total / free_total)


def _anchor_credit(
    visits: Sequence[Visit], returns: Mapping[Visit, float]
) -> dict[Visit, StepCredit]:
    """The interval is that of the anchor's mean, seen from each turn's own return."""
    own = [returns[visit] for visit in visits]
    mean = statistics.fmean(own)
    half = _Z * statistics.stdev(own) / math.sqrt(len(own))
    return {
        visit: StepCredit(value - mean, len(own), (value - mean - half, value - mean + half))
        for visit, value in zip(visits, own, strict=True)
    }


def _by_action(
    members: Sequence[Trajectory], anchors: Anchors, returns: Mapping[Visit, float]
) -> list[list[list[float]]]:
    by_uid = {member.uid: member for member in members}
    tables = []
    for visits in anchors.values():
        cells: dict[str, list[float]] = defaultdict(list)
        for uid, turn in visits:
            cells[_action(by_uid[uid].turns[turn])].append(returns[uid, turn])
        tables.append(list(cells.values()))
    return tables


def _objection(share: float, explained: float, min_share: float, min_explained: float) -> str:
    if share < min_share:
        return f"only {share:.0%} of later turns share a state; {min_share:.0%} are needed"
    if explained < min_explained:
        return (
            f"actions explain {explained:.2f} of the variance of returns at a shared state; "
            f"{min_explained:.2f} is needed"
        )
    return ""


def _action(turn: Turn) -> str:
    if turn.calls:
        return json.dumps([[call.name, canonical_arguments(call.arguments)] for call in turn.calls])
    return _normalised(turn.content)


def _observed(call: ToolCall) -> str | None:
    """A failed call may carry its message in `error` alone; that is what the policy saw."""
    seen = call.output if call.output is not None else call.error or None
    return None if seen is None else _normalised(seen)


def _normalised(text: str) -> str:
    return " ".join(text.split())


def _digest(parts: Sequence[object]) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _squares(values: Sequence[float]) -> float:
    mean = statistics.fmean(values)
    return sum((value - mean) ** 2 for value in values)
