"""What a step's credit says of tools, places and single turns: sums and a few examples. Torch-free.

Only trained turns are in it. The pages read these sums; no page opens a trajectory for them.
"""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jobs.engine.credit.anchored import Visit, visits_with_choice
from jobs.engine.credit.assign import CreditReport
from jobs.engine.credit.groups import Group
from jobs.engine.insight.sums import Sums, added, cluster_sums, sketch
from jobs.engine.metrics import UNKNOWN_TOOL
from jobs.engine.types import Attribution, Measured, TokenKind, ToolCall, Trajectory, Turn

ANSWER = "(final answer)"
OTHER_TOOLS = "(other tools)"
MOST_TOOLS = 40
PLACES = 12
"""Turns by their place; later ones count together as the last."""
EXAMPLES = 10
EXCERPT = 80
PARTS = ("episode", "step", "process", "counterfactual")


@dataclass(frozen=True, slots=True)
class _Earned:
    """One trained turn. `own`: something beyond the whole episode speaks of it."""

    member: Trajectory
    turn: Turn
    credit: Attribution
    tokens: int
    own: bool


def credit_insight(
    groups: Sequence[Group], report: CreditReport, tools: Collection[str]
) -> dict[str, Any]:
    """Sums of one step, bounded in size whatever the model does. `tools`: the job's own."""
    graded = [member for group in groups for member in group.graded]
    earned = _earned(graded, _chosen(graded, report))
    by_tool = _by_tool(groups, earned, tools)
    return {
        "turns": len(earned),
        "own_turns": sum(each.own for each in earned),
        "tokens": sum(each.tokens for each in earned),
        "own_tokens": sum(each.tokens for each in earned if each.own),
        "weight": {
            part: sum(abs(getattr(each.credit, part)) * each.tokens for each in earned)
            for part in PARTS
        },
        "tools": _bounded(by_tool),
        "places": _places(earned),
        "most": _examples(earned, sign=1),
        "least": _examples(earned, sign=-1),
    }


def _chosen(graded: Sequence[Trajectory], report: CreditReport) -> set[Visit]:
    """The turns that siblings with another action can be compared with; none behind a shut gate."""
    is_open = report.coverage is not None and report.coverage.weight
    return visits_with_choice(graded) if is_open else set()


def _earned(graded: Iterable[Trajectory], chosen: Collection[Visit]) -> list[_Earned]:
    found = []
    for member in (member for member in graded if member.trained):
        for credit in member.attribution:
            turn = member.turns[credit.turn]
            compared = credit.n and (member.uid, turn.index) in chosen
            own = bool(compared or credit.process or credit.counterfactual)
            found.append(_Earned(member, turn, credit, _trained_tokens(member, turn), own))
    return found


def _trained_tokens(member: Trajectory, turn: Turn) -> int:
    """The first token of a rollout has nothing before it to be predicted from."""
    return sum(kind == TokenKind.SAMPLED for kind in member.kinds[max(1, turn.start) : turn.end])


def _by_tool(
    groups: Sequence[Group], earned: Sequence[_Earned], tools: Collection[str]
) -> dict[str, Sums]:
    members = [member for group in groups for member in group.members]
    made: dict[str, list[ToolCall]] = defaultdict(list)
    for call in (call for member in members for call in member.calls):
        made[_named(call, tools)].append(call)
    credited: dict[str, list[_Earned]] = defaultdict(list)
    for each in earned:
        for name in [_named(call, tools) for call in each.turn.calls] or [ANSWER]:
            credited[name].append(each)
    measured: dict[str, list[Measured]] = defaultdict(list)
    for turn in (turn for member in members for turn in member.turns):
        for name in {_named(call, tools) for call in turn.calls} if turn.measured else ():
            assert turn.measured is not None
            measured[name].append(turn.measured)
    answers = sum(bool(m.turns) and not m.turns[-1].calls for m in members)
    return {
        name: _calls(made[name], answers if name == ANSWER else 0)
        | _advantages(credited[name])
        | _association(groups, name, tools)
        | _continuations(measured[name])
        for name in sorted({*made, *credited})
    }


def _named(call: ToolCall, tools: Collection[str]) -> str:
    """Names that the model made up count together."""
    return call.name if call.name in tools else UNKNOWN_TOOL


def _calls(calls: Sequence[ToolCall], answers: int) -> Sums:
    return {
        "calls": len(calls) or answers,
        "errors": sum(call.status in {"tool_error", "malformed"} for call in calls),
        "faults": sum(call.status == "fault" for call in calls),
        "seconds": sketch(call.seconds for call in calls if call.attempts),
    }


def _advantages(earned: Sequence[_Earned]) -> Sums:
    """Calls of one turn share its advantage: it cannot be told which of them earned it."""
    by_group: dict[str, list[float]] = defaultdict(list)
    for each in earned:
        by_group[each.member.group].append(each.credit.total)
    return {
        "advantage": cluster_sums(by_group.values()),
        "parts": {part: sum(getattr(each.credit, part) for each in earned) for part in PARTS},
        "own": sum(each.own for each in earned),
        "shared": sum(len(each.turn.calls) > 1 for each in earned),
    }


def _association(groups: Sequence[Group], name: str, tools: Collection[str]) -> Sums:
    """Mean reward of the attempts that called it minus that of those that did not, by group.

    Only groups in which both happened; each counts once, however many attempts it has.
    """
    differences = []
    for group in groups:
        with_it: list[float] = []
        without: list[float] = []
        for member in group.graded:
            called = any(_named(call, tools) == name for call in member.calls)
            (with_it if called else without).append(float(member.reward or 0.0))
        if with_it and without:
            differences.append(statistics.fmean(with_it) - statistics.fmean(without))
    return {"association": cluster_sums([value] for value in differences)}


def _continuations(measured: Sequence[Measured]) -> Sums:
    """The interval of their mean: of these turns, which were not drawn by chance."""
    if not measured:
        return {"measured": {}}
    halves = [(each.interval[1] - each.interval[0]) / 2 for each in measured]
    return {
        "measured": {
            "n": len(measured),
            "delta": sum(each.delta for each in measured),
            "half_sq": sum(half * half for half in halves),
        }
    }


def measured_mean(sums: Mapping[str, float]) -> tuple[float | None, float | None]:
    """The mean change of value over the measured turns, and half of its 95 % interval."""
    n = sums.get("n", 0)
    if not n:
        return None, None
    return sums["delta"] / n, math.sqrt(sums["half_sq"]) / n


def _bounded(by_tool: dict[str, Sums]) -> dict[str, Sums]:
    """Jobs may offer hundreds of tools: the most called have a row of their own."""
    ranked = sorted(by_tool, key=lambda name: (name == ANSWER, by_tool[name]["calls"]))[::-1]
    kept, rest = ranked[:MOST_TOOLS], ranked[MOST_TOOLS:]
    found = {name: by_tool[name] for name in sorted(kept)}
    return found | ({OTHER_TOOLS: added(by_tool[name] for name in rest)} if rest else {})


def _places(earned: Sequence[_Earned]) -> dict[str, Sums]:
    """By the turn's place from 0. Later places hold only the rollouts that went on so long."""
    found: dict[str, Sums] = {}
    for each in earned:
        place = str(min(each.turn.index, PLACES - 1))
        own = found.setdefault(place, {"n": 0, "sum": 0.0, "own": 0})
        own["n"] += 1
        own["sum"] += each.credit.total
        own["own"] += each.own
    return found


def _examples(earned: Sequence[_Earned], sign: int) -> list[dict[str, Any]]:
    """The turns that earned (sign 1) or cost (-1) most, at most one a rollout.

    Of those with evidence of their own: where a turn only repeats its episode, it does not stand
    out.
    """
    ranked = sorted(
        (each for each in earned if each.own and sign * each.credit.total > 0),
        key=lambda each: (-sign * each.credit.total, each.member.uid, each.turn.index),
    )
    firsts: dict[str, _Earned] = {}
    for each in ranked:
        firsts.setdefault(each.member.uid, each)
        if len(firsts) == EXAMPLES:
            break
    return [_example(each) for each in firsts.values()]


def _example(each: _Earned) -> dict[str, Any]:
    calls = each.turn.calls
    said = "; ".join(call.arguments for call in calls) or each.turn.content
    return {
        "uid": each.member.uid,
        "turn": each.turn.index,
        "tool": ", ".join(call.name for call in calls)[:EXCERPT] if calls else ANSWER,
        "text": said[:EXCERPT],
        "advantage": each.credit.total,
        "beyond": each.credit.total - each.credit.episode,
        "tokens": each.tokens,
    }
