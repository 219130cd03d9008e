"""Paired tasks: the same tasks before and after, and whether the difference is chance. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

SAME = 1e-9
"""Values closer than this are equal."""


@dataclass(frozen=True)
class TaskResult:
    """One task at one step: means over its attempts. `reward` None: none of them was graded."""

    row: int
    reward: float | None
    calls: float
    tokens: float
    seconds: float
    attempts: int = 1
    graded: int = 1


@dataclass(frozen=True)
class Pair:
    """A task that both sides have graded attempts of."""

    row: int
    before: float
    after: float
    calls_before: float
    calls_after: float

    @property
    def change(self) -> float:
        return self.after - self.before

    @property
    def calls_change(self) -> float:
        return self.calls_after - self.calls_before

    @property
    def quadrant(self) -> str:
        """As in `better-fewer`."""
        return (
            f"{_word(self.change, 'better', 'worse')}-{_word(self.calls_change, 'more', 'fewer')}"
        )


@dataclass(frozen=True)
class Signs:
    """How many tasks got better, worse and neither, and the sign test's two-sided p."""

    better: int
    worse: int
    equal: int
    p: float

    @property
    def n(self) -> int:
        return self.better + self.worse + self.equal


def paired(before: Mapping[int, TaskResult], after: Mapping[int, TaskResult]) -> list[Pair]:
    """Tasks that are graded on both sides, the largest gain first, then by row."""
    found = []
    for row in before.keys() & after.keys():
        left, right = before[row], after[row]
        if left.reward is not None and right.reward is not None:
            found.append(Pair(row, left.reward, right.reward, left.calls, right.calls))
    return sorted(found, key=lambda pair: (-pair.change, pair.row))


def signs(pairs: Sequence[Pair]) -> Signs:
    """The exact sign test over the tasks; equal ones say nothing."""
    better = sum(pair.change > SAME for pair in pairs)
    worse = sum(pair.change < -SAME for pair in pairs)
    return Signs(better, worse, len(pairs) - better - worse, sign_test(better, worse))


def sign_test(better: int, worse: int) -> float:
    """The chance of a split at least as uneven, were both equally likely; 1 where there is none."""
    n, fewer = better + worse, min(better, worse)
    ways, total = 1, 0
    for k in range(fewer + 1):
        total += ways
        ways = ways * (n - k) // (k + 1)
    # Whole numbers up to the last division: a float would run out at about 1,000 tasks.
    return float(min(1.0, 2 * total / 2**n))


def quadrants(pairs: Sequence[Pair]) -> dict[str, int]:
    """How many tasks lie in each field of change of reward by change of calls."""
    counted = Counter(pair.quadrant for pair in pairs)
    return {
        f"{reward}-{calls}": counted[f"{reward}-{calls}"]
        for reward in ("better", "same", "worse")
        for calls in ("fewer", "same", "more")
    }


def _word(change: float, up: str, down: str) -> str:
    if abs(change) <= SAME:
        return "same"
    return up if change > 0 else down
