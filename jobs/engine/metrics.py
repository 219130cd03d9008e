"""What a step's rollouts were like, in plain numbers."""

from __future__ import annotations

import random
import statistics
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from jobs.engine.credit.assign import CreditReport
from jobs.engine.credit.base import is_graded
from jobs.engine.credit.groups import Group, Signal
from jobs.engine.rollout.loops import canonical_arguments
from jobs.engine.types import FAULTS, StopReason, TokenKind, ToolCall, Trajectory

RolloutStats = dict[str, Any]
"""See `rollout_stats`; a number is None where nothing was there to measure."""

LOOP_STOPS = frozenset({StopReason.TOKEN_LOOP, StopReason.TOOL_LOOP})
REPEATS_OF_A_LOOP = 3
BOOTSTRAP_DRAWS, BOOTSTRAP_SEED = 1000, 2026
UNKNOWN_TOOL = "(unknown)"


def percentile(values: Sequence[float], percent: float) -> float | None:
    """Linear between the two nearest ranks."""
    if not values:
        return None
    ordered = sorted(values)
    place = (len(ordered) - 1) * percent / 100
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def is_looped(trajectory: Trajectory) -> bool:
    """Stopped as a loop, or the same call with the same result three times or more."""
    seen = Counter(
        (call.name, canonical_arguments(call.arguments), call.output) for call in trajectory.calls
    )
    return trajectory.stop in LOOP_STOPS or max(seen.values(), default=0) >= REPEATS_OF_A_LOOP


def rollout_stats(trajectories: Sequence[Trajectory], tools: Collection[str]) -> RolloutStats:
    """Rewards are of graded rollouts; calls, turns and tokens of all that no fault ended.

    `tools`: the names of the job's tools. Calls of names that the model made up count together.
    """
    graded = [trajectory for trajectory in trajectories if is_graded(trajectory)]
    whole = [trajectory for trajectory in trajectories if trajectory.stop not in FAULTS]
    rewards = [float(trajectory.reward or 0.0) for trajectory in graded]
    calls = [len(trajectory.calls) for trajectory in whole]
    tokens = [trajectory.sampled_tokens for trajectory in whole]
    seconds = [call.seconds for trajectory in whole for call in trajectory.calls if call.attempts]
    ungraded = [trajectory for trajectory in trajectories if not is_graded(trajectory)]
    return {
        "n": len(trajectories),
        "graded": len(graded),
        "ungraded": len(ungraded),
        "reward_mean": _mean(rewards),
        "held_out_mean": _mean(_held_out(graded)),
        **reward_interval(graded),
        "reward_sd": statistics.pstdev(rewards) if rewards else None,
        "parts": _part_means(graded),
        "tool_calls_mean": _mean(calls),
        "tool_calls_p50": percentile(calls, 50),
        "tool_calls_p95": percentile(calls, 95),
        "tool_calls_max": max(calls, default=None),
        "turns_mean": _mean([len(trajectory.turns) for trajectory in whole]),
        "tokens_mean": _mean(tokens),
        "tokens_p50": percentile(tokens, 50),
        "tokens_p95": percentile(tokens, 95),
        "tokens_p99": percentile(tokens, 99),
        "total_tokens_mean": _mean([len(trajectory.ids) for trajectory in whole]),
        "loop_rate": _mean([float(is_looped(trajectory)) for trajectory in whole]),
        "stops": _counted([str(t.stop) for t in trajectories if t.stop is not None]),
        "tool_seconds_p50": percentile(seconds, 50),
        "tool_seconds_p95": percentile(seconds, 95),
        "tool_seconds_p99": percentile(seconds, 99),
        "tools": _by_tool([call for member in trajectories for call in member.calls], tools),
        "ungraded_causes": _counted([trajectory.cause or "unknown" for trajectory in ungraded]),
    }


def reward_interval(graded: Sequence[Trajectory]) -> dict[str, float | None]:
    """`reward_low` and `reward_high`: the 95 % interval of the mean reward, by a bootstrap over
    tasks. The same rollouts give the same interval; None of fewer than two tasks."""
    rewards: dict[int, list[float]] = {}
    for trajectory in graded:
        rewards.setdefault(trajectory.row, []).append(float(trajectory.reward or 0.0))
    if len(rewards) < 2:
        return {"reward_low": None, "reward_high": None}
    tasks = [(sum(found), len(found)) for _, found in sorted(rewards.items())]
    draw = random.Random(BOOTSTRAP_SEED)
    means = []
    for _ in range(BOOTSTRAP_DRAWS):
        drawn = draw.choices(tasks, k=len(tasks))
        means.append(sum(total for total, _ in drawn) / sum(n for _, n in drawn))
    return {"reward_low": percentile(means, 2.5), "reward_high": percentile(means, 97.5)}


def group_stats(groups: Sequence[Group], counts: Mapping[Signal, int]) -> dict[str, int]:
    """How many groups could teach something, and why the others could not."""
    named = {str(signal): counts.get(signal, 0) for signal in Signal}
    refilled = sum(group.round > 0 for group in groups)
    return {"total": len(groups), **named, "refilled": refilled}


def duplicate_stats(groups: Sequence[Group]) -> dict[str, Any]:
    """How many rollouts sampled, token by token, what a sibling before them did; `group`: the one
    with most of them, empty where there are none. Rollouts that a fault ended are left out."""
    copies: dict[str, int] = {}
    total = 0
    for group in groups:
        whole = [member for member in group.members if member.stop not in FAULTS]
        copies[group.id] = len(whole) - len({_sampled(member) for member in whole})
        total += len(whole)
    found = sum(copies.values())
    return {
        "total": total,
        "copies": found,
        "share": found / total if total else None,
        "group": max(copies, key=lambda each: copies[each]) if found else "",
    }


def _sampled(trajectory: Trajectory) -> tuple[int, ...]:
    pairs = zip(trajectory.ids, trajectory.kinds, strict=True)
    return tuple(token for token, kind in pairs if kind in (TokenKind.SAMPLED, TokenKind.LOOP))


def credit_stats(report: CreditReport) -> dict[str, Any]:
    """How far step-level evidence reached, and what the gate of the anchored term decided."""
    found: dict[str, Any] = {
        "turns": report.turns,
        "turns_with_evidence": report.turns_with_evidence,
    }
    if report.coverage is not None:
        found |= {
            "anchored_share": report.coverage.share,
            "anchored_explained": report.coverage.explained,
            "anchored_evidence": report.coverage.evidence,
            "anchored_weight": report.coverage.weight,
            "reason": report.coverage.reason,
        }
    return found


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _held_out(graded: Sequence[Trajectory]) -> list[float]:
    """What a second grader gave, of those that it could grade."""
    found = [member.grading.get("held_out", {}).get("reward") for member in graded]
    return [float(reward) for reward in found if reward is not None]


def _counted(values: Sequence[str]) -> dict[str, int]:
    return dict(sorted(Counter(values).items()))


def _part_means(graded: Sequence[Trajectory]) -> dict[str, float]:
    values: dict[str, list[float]] = {}
    for trajectory in graded:
        for name, value in trajectory.parts.items():
            values.setdefault(name, []).append(value)
    return {name: sum(found) / len(found) for name, found in sorted(values.items())}


def _by_tool(calls: Sequence[ToolCall], tools: Collection[str]) -> dict[str, dict[str, Any]]:
    named: dict[str, list[ToolCall]] = {}
    for call in calls:
        named.setdefault(call.name if call.name in tools else UNKNOWN_TOOL, []).append(call)
    return {
        name: {
            "calls": len(found),
            "errors": sum(call.status in {"tool_error", "malformed"} for call in found),
            "faults": sum(call.status == "fault" for call in found),
            "seconds_mean": _mean([call.seconds for call in found if call.attempts]),
        }
        for name, found in sorted(named.items())
    }
