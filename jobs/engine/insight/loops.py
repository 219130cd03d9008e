"""What repeated in a step's rollouts, what it earned, and how long the longest ran on."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jobs.engine.credit.base import is_graded
from jobs.engine.insight.sums import Sums
from jobs.engine.metrics import is_looped, percentile
from jobs.engine.rollout.loops import MAX_PERIOD, canonical_arguments
from jobs.engine.types import FAULTS, LIMIT_STOPS, StopReason, Trajectory

MOST_SHOWN = 12
MOST_UIDS = 3
LONGEST = 5
EXCERPT = 120
REPEATED = "repeated"
"""The same call with the same result three times or more, and the rollout went on."""


@dataclass(frozen=True, slots=True)
class Repeat:
    """What a rollout repeated; `key` is the same wherever the same thing was repeated."""

    key: str
    kind: str
    tool: str
    text: str
    times: int


def loop_insight(trajectories: Sequence[Trajectory]) -> dict[str, Any]:
    """Of the rollouts of one split that no fault ended; bounded in size."""
    whole = [each for each in trajectories if each.stop not in FAULTS]
    repeats = {each.uid: repeat_of(each) for each in whole if is_looped(each)}
    looped = [each for each in whole if each.uid in repeats]
    stopped = [each for each in whole if each.stop in LIMIT_STOPS]
    calls = [len(each.calls) for each in whole]
    kinds = Counter(repeat.kind for repeat in repeats.values())
    return {
        "n": len(whole),
        "kinds": dict(sorted(kinds.items())),
        "earned": {
            kind: _earned([each for each in looped if repeats[each.uid].kind == kind])
            for kind in sorted(kinds)
        },
        **_gallery(looped, repeats),
        "calls": {
            "p50": percentile(calls, 50),
            "p95": percentile(calls, 95),
            "max": max(calls, default=None),
        },
        "tokens": sum(each.sampled_tokens for each in whole),
        "limit_tokens": sum(each.sampled_tokens for each in stopped),
        "limited": len(stopped),
        "quartiles": tokens_by_quartile(whole),
        "longest": [_long(each, repeats.get(each.uid)) for each in _longest(whole)],
    }


def repeat_of(trajectory: Trajectory) -> Repeat:
    """What a looped rollout repeated most."""
    if trajectory.stop is StopReason.TOKEN_LOOP:
        return _token_repeat(trajectory)
    seen = Counter(
        (call.name, canonical_arguments(call.arguments), call.output) for call in trajectory.calls
    )
    (name, arguments, _), times = seen.most_common(1)[0]
    kind = str(StopReason.TOOL_LOOP) if trajectory.stop is StopReason.TOOL_LOOP else REPEATED
    # The call that went too far has no result that was taken, so it may stand apart.
    times = max(times, sum(n for key, n in seen.items() if key[:2] == (name, arguments)))
    return Repeat(_key(kind, name, arguments), kind, name, arguments[:EXCERPT], times)


def _token_repeat(trajectory: Trajectory) -> Repeat:
    turn = trajectory.turns[-1]
    ids = trajectory.ids[turn.start : turn.end]
    period = token_period(ids)
    kind = str(StopReason.TOKEN_LOOP)
    if period is None:
        return Repeat("tokens without a period", kind, "", turn.text[-EXCERPT:], 0)
    unit = ids[-period:]
    # The same loop may be cut at any of its tokens.
    least = min(tuple(unit[at:] + unit[:at]) for at in range(period))
    times = _times(ids, period)
    shown = max(1, len(turn.text) * period // max(1, len(ids)))
    return Repeat(_key(kind, *least), kind, "", turn.text[-min(shown, EXCERPT) :], times)


def token_period(ids: Sequence[int]) -> int | None:
    """The shortest period with which the tokens end, at least twice; None where there is none."""
    for period in range(1, min(MAX_PERIOD, len(ids) // 2) + 1):
        if ids[-period:] == ids[-2 * period : -period]:
            return period
    return None


def _times(ids: Sequence[int], period: int) -> int:
    """How often the tokens end with their last `period` tokens."""
    at = len(ids) - period
    while at > 0 and ids[at - 1] == ids[at - 1 + period]:
        at -= 1
    return (len(ids) - at) // period


def tokens_by_quartile(whole: Sequence[Trajectory]) -> list[float] | None:
    """Mean tokens from the quarter of the lowest rewards to that of the highest.

    Attempts of the same reward share their mean, so that no order among them decides. None below
    four, and where all rewards are the same.
    """
    graded = [each for each in whole if is_graded(each)]
    by_reward: dict[float, list[int]] = defaultdict(list)
    for each in graded:
        by_reward[float(each.reward or 0.0)].append(each.sampled_tokens)
    if len(graded) < 4 or len(by_reward) < 2:
        return None
    levelled = [
        sum(own) / len(own) for _, own in sorted(by_reward.items()) for _ in range(len(own))
    ]
    edges = [round(quarter * len(levelled) / 4) for quarter in range(5)]
    quarters = [levelled[low:high] for low, high in zip(edges, edges[1:], strict=False)]
    return [sum(quarter) / len(quarter) for quarter in quarters]


def _earned(looped: Sequence[Trajectory]) -> Sums:
    graded = [each for each in looped if is_graded(each)]
    trained = [each.advantage for each in looped if each.trained and each.advantage is not None]
    return {
        "n": len(looped),
        "graded": len(graded),
        "reward": sum(float(each.reward or 0.0) for each in graded),
        "trained": len(trained),
        "advantage": sum(trained),
        "tokens": sum(each.sampled_tokens for each in looped),
    }


def _gallery(looped: Sequence[Trajectory], repeats: dict[str, Repeat]) -> dict[str, Any]:
    """The most frequent; how many others there were is counted."""
    by_key: dict[str, list[Trajectory]] = defaultdict(list)
    for each in looped:
        by_key[repeats[each.uid].key].append(each)
    ranked = sorted(by_key.items(), key=lambda item: (-len(item[1]), item[0]))
    return {
        "gallery": [_shown(members, repeats) for _, members in ranked[:MOST_SHOWN]],
        "gallery_rest": sum(len(members) for _, members in ranked[MOST_SHOWN:]),
    }


def _shown(members: Sequence[Trajectory], repeats: dict[str, Repeat]) -> dict[str, Any]:
    first = repeats[members[0].uid]
    return {
        "key": first.key,
        "kind": first.kind,
        "tool": first.tool[:EXCERPT],
        "text": first.text,
        "times": max(repeats[member.uid].times for member in members),
        "uids": [member.uid for member in members[:MOST_UIDS]],
        **_earned(members),
    }


def _longest(whole: Sequence[Trajectory]) -> list[Trajectory]:
    return sorted(whole, key=lambda each: (-each.sampled_tokens, each.uid))[:LONGEST]


def _long(each: Trajectory, repeat: Repeat | None) -> dict[str, Any]:
    return {
        "uid": each.uid,
        "tokens": each.sampled_tokens,
        "turns": len(each.turns),
        "calls": len(each.calls),
        "stop": str(each.stop or ""),
        "reward": each.reward if is_graded(each) else None,
        "repeated": f"{repeat.tool} {repeat.text}".strip()[:EXCERPT] if repeat else "",
        "times": repeat.times if repeat else 0,
    }


def _key(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode(errors="surrogatepass")).hexdigest()[:12]
