"""How a step's rewards came about: the parts, the second grader, errors and time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from jobs.engine.credit.base import is_graded
from jobs.engine.insight.sums import pair_sums, sketch
from jobs.engine.types import FAULTS, Trajectory

MOST_PARTS = 12
SUSPECTS = 10
LARGEST = 1e12
"""Beyond this (or no number at all) a part is in no sum: one would hide all others."""


def grader_insight(trajectories: Sequence[Trajectory]) -> dict[str, Any]:
    """Of the rollouts of one split. `suspects`: high rewards that the second grader does not see.

    Parts and the second grader are paired with the reward that is trained on, limits and loops
    being clamped in all alike.
    """
    graded = [each for each in trajectories if is_graded(each)]
    names = sorted({name for each in graded for name in each.parts})
    checked = [(each, held) for each in graded if (held := _held_out(each)) is not None]
    helds = {each.uid: held for each, held in checked}
    return {
        "n": len(trajectories),
        "graded": len(graded),
        "parts": {
            name: {
                "reward": pair_sums([(p, _reward(each)) for each, p in _valued(graded, name)]),
                "held_out": pair_sums(
                    [(p, helds[each.uid]) for each, p in _valued(graded, name) if each.uid in helds]
                ),
            }
            for name in names[:MOST_PARTS]
        },
        "parts_rest": max(0, len(names) - MOST_PARTS),
        "held_out": pair_sums([(_reward(each), held) for each, held in checked]),
        "errors": _errors(trajectories),
        "seconds": sketch(
            float(each.grading["seconds"]) for each in trajectories if each.grading.get("seconds")
        ),
        "suspects": _suspects(checked),
    }


def _reward(each: Trajectory) -> float:
    return float(each.reward or 0.0)


def _valued(graded: Sequence[Trajectory], name: str) -> list[tuple[Trajectory, float]]:
    return [
        (each, value)
        for each in graded
        if (value := each.parts.get(name)) is not None and abs(value) <= LARGEST
    ]


def _held_out(each: Trajectory) -> float | None:
    found = each.grading.get("held_out", {}).get("reward")
    return None if found is None else float(found)


def _errors(trajectories: Sequence[Trajectory]) -> dict[str, int]:
    """The grader's own, by kind; a rollout that a tool or the clock ended was never graded."""
    kinds = Counter(
        str(each.grading.get("code") or (str(each.stop) if each.stop in FAULTS else "other"))
        for each in trajectories
        if not is_graded(each)
    )
    held_out = Counter(
        f"held_out:{code}"
        for each in trajectories
        if (code := each.grading.get("held_out", {}).get("code"))
    )
    return dict(sorted((kinds + held_out).items()))


def _suspects(checked: Sequence[tuple[Trajectory, float]]) -> list[dict[str, Any]]:
    """The highest rewards with the lowest held-out score, where that is below the reward."""
    below = [pair for pair in checked if pair[1] < _reward(pair[0])]
    ranked = sorted(below, key=lambda pair: (-_reward(pair[0]), pair[1], pair[0].uid))
    return [
        {"uid": each.uid, "reward": _reward(each), "held_out": held}
        for each, held in ranked[:SUSPECTS]
    ]
