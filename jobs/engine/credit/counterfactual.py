"""What a tool call changed: the value after it minus the value before it (reference 2.1, VinePPO).

Both values are mean rewards of continuations under the current policy. Torch-free.
"""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from jobs.engine.credit.anchored import Visit
from jobs.engine.credit.base import is_graded
from jobs.engine.credit.groups import Signal, group_signal
from jobs.engine.intervals import wilson
from jobs.engine.types import Measured, Trajectory

MIN_USABLE = 2
MIN_SHARE = 0.5
"""Continuations are lost for what they did, so the few that are left are no fair sample."""

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class CounterfactualCredit:
    """One turn's change of value; None where there is no estimate, and `reason` says why.

    `n`: usable continuations of both sides. `reason` also tells of unusable ones beside an
    estimate.
    """

    delta: float | None
    interval: Interval | None
    n: int
    unusable: int
    reason: str = ""

    @property
    def measured(self) -> Measured | None:
        """What a turn keeps of it."""
        if self.delta is None or self.interval is None:
            return None
        return Measured(delta=self.delta, n=self.n, interval=self.interval, unusable=self.unusable)


def compare(
    before: Sequence[float | None],
    after: Sequence[float | None],
    scale: Interval = (0.0, 1.0),
) -> CounterfactualCredit:
    """Rewards of the continuations from before and from after a turn; None: unusable.

    `scale`: the least and the highest reward there can be.
    """
    sides = [[reward for reward in side if reward is not None] for side in (before, after)]
    n = sum(len(side) for side in sides)
    unusable = len(before) + len(after) - n
    enough = all(
        len(usable) >= max(MIN_USABLE, MIN_SHARE * len(side))
        for usable, side in zip(sides, (before, after), strict=True)
    )
    if not enough:
        reason = (
            f"usable are {len(sides[0])} of {len(before)} continuations from before and "
            f"{len(sides[1])} of {len(after)} from after; at least {MIN_USABLE} and half are needed"
        )
        return CounterfactualCredit(None, None, n, unusable, reason)
    means = statistics.fmean(sides[0]), statistics.fmean(sides[1])
    return CounterfactualCredit(
        means[1] - means[0],
        difference_interval(means, (len(sides[0]), len(sides[1])), scale),
        n,
        unusable,
        f"{unusable} of {len(before) + len(after)} continuations are unusable" if unusable else "",
    )


def difference_interval(
    means: tuple[float, float], sizes: tuple[int, int], scale: Interval
) -> Interval:
    """95 % for the second mean minus the first: Newcombe 1998 (Stat. Med. 17, 873), method 10.

    It joins the Wilson intervals of both sides. For rewards of 0 and 1 that is the usual method.
    For rewards between, the means stand in for the proportions: a variable within [0, 1] varies
    at most as much as a 0/1 variable of the same mean (Bhatia and Davis 2000), so the interval is
    the wider one. Unlike Welch's, it has a width where all rewards of a side are the same, which
    with four continuations is the usual case.
    """
    low, high = scale
    width = high - low
    first, second = ((mean - low) / width for mean in means)
    (low1, high1), (low2, high2) = wilson(first, sizes[0]), wilson(second, sizes[1])
    delta = second - first
    return (
        width * (delta - math.hypot(second - low2, high1 - first)),
        width * (delta + math.hypot(high2 - second, first - low1)),
    )


def scale_of(rewards: Iterable[float]) -> Interval:
    """The usual scale of rewards, 0 to 1, widened to those that were seen beyond it."""
    seen = list(rewards)
    return min([0.0, *seen]), max([1.0, *seen])


def uncertainty(trajectory: Trajectory, turn: int) -> float:
    """How much less sure the policy is right after a turn's results than at its beginning (ARPO):
    mean entropy of the next turn's tokens minus that of turn 0, in nats."""
    return _mean_entropy(trajectory, turn + 1) - _mean_entropy(trajectory, 0)


def choose_calls(trajectories: Sequence[Trajectory], budget: int) -> list[Visit]:
    """The turns to measure, the most uncertain first; parallel calls are one turn.

    Only in graded rollouts of groups with signal, and only turns that another turn followed:
    where a limit stopped the rollout at once, nothing could have been done after. Ties, and all
    turns of a sampler that gives no entropies, go by turn and then by rollout.
    """
    groups: dict[str, list[Trajectory]] = defaultdict(list)
    for trajectory in trajectories:
        if is_graded(trajectory):
            groups[trajectory.group].append(trajectory)
    members = [
        member
        for graded in groups.values()
        if group_signal([float(m.reward or 0.0) for m in graded]) is Signal.WITH_SIGNAL
        for member in graded
    ]
    found = [
        (-uncertainty(member, turn.index), turn.index, place, member.uid)
        for place, member in enumerate(members)
        for turn in member.turns[:-1]
        if turn.calls
    ]
    return [(uid, turn) for _, turn, _, uid in sorted(found)[:budget]]


def _mean_entropy(trajectory: Trajectory, turn: int) -> float:
    start, end = trajectory.turns[turn].start, trajectory.turns[turn].end
    return statistics.fmean(trajectory.entropies[start:end])
