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
import numpy as np
from numpy.typing import NDArray

from jobs.engine.credit.base import is_graded
from jobs.engine.intervals import student
from jobs.engine.rollout.loops import canonical_arguments
from jobs.engine.types import ToolCall, Trajectory, Turn

GAMMA = 0.95
"""Per turn, not per token: a long tool result does not make what came before it worth less."""
MIN_TRAJECTORIES = 2
MIN_SHARE = 0.10
PERMUTATIONS = 199
MEMORY = 0.2
"""How much a step counts in the running evidence, of 1."""
MIN_EVIDENCE = 2 * math.sqrt(MEMORY / (2 - MEMORY))
"""Two standard deviations of the running evidence where actions mean nothing: a step's surprise is
then about N(0, 1), and the running mean of such has the standard deviation in the root."""
_NO_SPREAD = 1e-12

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
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
    own: float | None = None
    """The turn's return, which the gate leaves alone."""
    anchor: float | None = None
    """The mean return of the state, left alone likewise."""
    actions: int | None = None
    """How many different things were done in this state."""

    def times(self, weight: float) -> StepCredit:
        interval = self.interval and (weight * self.interval[0], weight * self.interval[1])
        return msgspec.structs.replace(self, advantage=weight * self.advantage, interval=interval)


class Coverage(msgspec.Struct, frozen=True):
    """The gate's decision, on the running `evidence`.

    `turns` and `anchored` leave out turn 0, as siblings always share it.

    `explained` is the adjusted eta squared of the action within all anchors, turn 0's among them:
    chance alone gives 0 on average and may give less.
    """

    turns: int
    anchored: int
    share: float
    explained: float
    evidence: float
    weight: float
    reason: str


class AnchoredCredit(msgspec.Struct, frozen=True):
    """`steps` holds the graded trajectories only, by uid, one entry per turn."""

    steps: dict[str, list[StepCredit]]
    coverage: Coverage

    def weighted(self) -> dict[str, list[StepCredit]]:
        """The steps as the gate lets them through; nothing where it is closed."""
        weight = self.coverage.weight
        if not weight:
            return {}
        return {uid: [step.times(weight) for step in own] for uid, own in self.steps.items()}


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


def visits_with_choice(trajectories: Sequence[Trajectory]) -> set[Visit]:
    """Turns whose state a sibling met too, and where not all did the same: only there can a
    comparison of siblings say more than the outcome does."""
    by_uid = {member.uid: member for member in trajectories}
    everywhere = [(uid, turn) for uid, one in by_uid.items() for turn in range(len(one.turns))]
    return {
        visit
        for visits in anchors_of(trajectories, everywhere).values()
        if len({_action(by_uid[uid].turns[turn]) for uid, turn in visits}) > 1
        for visit in visits
    }


def anchored_credit(
    trajectories: Sequence[Trajectory],
    rewards: Mapping[str, float],
    *,
    gamma: float = GAMMA,
    weight: float = 1.0,
    min_share: float = MIN_SHARE,
    min_evidence: float = MIN_EVIDENCE,
    evidence: float = 0.0,
) -> AnchoredCredit:
    """GiGPO's A_step = G_t - mean of G over the anchor, G_t = gamma^(turns left) * reward.

    `rewards` are those trained with, by uid, so that shaping and the shuffled control reach the
    step term. `evidence` is the coverage's of the step before. Ungraded trajectories are in
    nothing. Where all were solved, G differs by length alone.
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
        for visit, credit in _anchor_credit(visits, returns, _actions(graded, visits)).items()
    }
    steps = {
        member.uid: [found.get((member.uid, i), StepCredit()) for i in range(len(member.turns))]
        for member in graded
    }
    later = [visit for visit in returns if visit[1] > 0]
    anchored = sum(visit in found for visit in later)
    share = anchored / len(later) if later else 0.0
    tables = _by_action(graded, anchors, returns)
    evidence += MEMORY * (surprise(tables) - evidence)
    reason = _objection(share, evidence, min_share, min_evidence)
    coverage = Coverage(
        turns=len(later),
        anchored=anchored,
        share=share,
        explained=variance_explained(tables),
        evidence=evidence,
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


def surprise(anchors: Sequence[Sequence[Sequence[float]]]) -> float:
    """By how many standard deviations actions explain returns better than chance would.

    Chance deals the returns of each anchor out anew among its turns, always in the same ways.
    """
    chance = np.random.default_rng(0)
    error, errors_P = 0.0, np.zeros(PERMUTATIONS)
    for anchor in anchors:
        values = np.asarray([value for cell in anchor for value in cell])
        sizes = np.asarray([len(cell) for cell in anchor])
        error += float(_unexplained(values[None], sizes)[0])
        dealt_PN = chance.permuted(np.tile(values, (PERMUTATIONS, 1)), axis=1)
        errors_P += _unexplained(dealt_PN, sizes)
    spread = float(errors_P.std())
    return (float(errors_P.mean()) - error) / spread if spread > _NO_SPREAD else 0.0


def _unexplained(values_PN: FloatArray, sizes: IntArray) -> FloatArray:
    """[P]: squares within the cells, which lie behind each other."""
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    sums_PC = np.add.reduceat(values_PN, starts, axis=1)
    squares_P: FloatArray = np.square(values_PN).sum(1) - (np.square(sums_PC) / sizes).sum(1)
    return squares_P


def _anchor_credit(
    visits: Sequence[Visit], returns: Mapping[Visit, float], actions: int
) -> dict[Visit, StepCredit]:
    """The interval is that of the anchor's mean, seen from each turn's own return."""
    own = [returns[visit] for visit in visits]
    mean = statistics.fmean(own)
    half = student(len(own) - 1) * statistics.stdev(own) / math.sqrt(len(own))
    return {
        visit: StepCredit(
            value - mean,
            len(own),
            (value - mean - half, value - mean + half),
            own=value,
            anchor=mean,
            actions=actions,
        )
        for visit, value in zip(visits, own, strict=True)
    }


def _actions(members: Sequence[Trajectory], visits: Sequence[Visit]) -> int:
    by_uid = {member.uid: member for member in members}
    return len({_action(by_uid[uid].turns[turn]) for uid, turn in visits})


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


def _objection(share: float, evidence: float, min_share: float, min_evidence: float) -> str:
    if share < min_share:
        return f"only {share:.0%} of later turns share a state; {min_share:.0%} are needed"
    if evidence < min_evidence:
        return (
            f"over the last steps actions explained returns {evidence:.2f} standard deviations "
            f"better than chance; {min_evidence:.2f} are needed"
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
