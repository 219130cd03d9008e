"""All measurements, one after the other; what stands side by side was measured in turns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from benchmarks.engine import ours
from benchmarks.engine.children import TrlWay, child, trl_steps, trl_to
from benchmarks.engine.runs import Goal, ToTarget, Work, middle
from benchmarks.engine.search import Trial, fastest
from benchmarks.engine.tool_server import serving
from benchmarks.engine.trees import TreeRow

TARGET_LATENCY_MS = 50
TARGET_REWARD = 0.75
TARGET_STEPS = 60
TARGET_EVERY = 4


@dataclass(frozen=True)
class Plan:
    """How long it all takes. `steps`: of a run, by the latency of its tools in milliseconds; the
    first warms up."""

    steps: dict[int, int]
    try_steps: int
    target_limit_s: float


WHOLE = Plan(steps={0: 4, 50: 4, 200: 3}, try_steps=3, target_limit_s=600.0)
QUICK = Plan(steps={0: 2, 50: 2, 200: 2}, try_steps=2, target_limit_s=30.0)
"""Shows that everything runs; its figures are rough, and no side reaches the target."""


@dataclass(frozen=True)
class Pair:
    """Steps of both sides with tools of one latency."""

    latency_ms: int
    trl: Work
    ours: Work


@dataclass(frozen=True)
class Parity:
    difference: float
    rollouts: int
    tokens: int
    calls: int


@dataclass(frozen=True)
class Found:
    """Everything that was measured."""

    way: TrlWay
    trials: list[Trial]
    pairs: list[Pair]
    trees: list[TreeRow]
    parity: Parity
    trl_target: ToTarget
    ours_target: ToTarget


def measure(plan: Plan, say: Callable[[str], None]) -> Found:
    way, trials = fastest(plan.try_steps, say)
    pairs = []
    for latency_ms, steps in plan.steps.items():
        say(f"steps with tools of {latency_ms} ms")
        pair = side_by_side(way, latency_ms, steps)
        pairs.append(pair)
        say(f"a trajectory: {pair.trl.rollout_ms:.0f} ms TRL, {pair.ours.rollout_ms:.0f} ms Hone")
    say("trees, log-probabilities")
    trees = msgspec.convert(child("benchmarks.engine.trees", [])[0], list[TreeRow])
    parity = msgspec.convert(child("benchmarks.engine.parity", [])[0], Parity)
    say(f"training to a validation reward of {TARGET_REWARD}")
    ours_target, trl_target = to_target(way, plan.target_limit_s)
    return Found(way, trials, pairs, trees, parity, trl_target, ours_target)


def side_by_side(way: TrlWay, latency_ms: int, steps: int) -> Pair:
    """Ours before and after TRL's, so that a machine that slows down hits both."""
    with serving(latency_ms) as port:
        before = ours.measure_steps(port, steps=steps)[1:]
        trl = trl_steps(way, port, steps=steps)
        after = ours.measure_steps(port, steps=steps)[1:]
    return Pair(latency_ms, trl=middle(trl), ours=middle([*before, *after]))


def to_target(way: TrlWay, limit_s: float) -> tuple[ToTarget, ToTarget]:
    """Until the reward, or as long as `limit_s` or `TARGET_STEPS` last."""
    goal = Goal(TARGET_REWARD, limit_s, TARGET_EVERY, TARGET_STEPS)
    with serving(TARGET_LATENCY_MS) as port:
        return ours.train_to(port, goal), trl_to(way, port, goal)
