"""What tools, places and turns earned over a window of steps."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

from jobs.engine.insight.credit import PARTS, measured_mean
from jobs.engine.insight.sums import added, clustered_mean, sketched_percentile
from jobs.models import FINAL, Job, Replay
from jobs.selectors.insight.window import Step, Window, settings_of

EXAMPLES = 10
MOST_REPLAYS = 2_000

Figure = float | None


@dataclass(frozen=True)
class Estimate:
    """A mean with half of its 95 % interval (None: too few to tell) and what it is over."""

    mean: Figure
    half: Figure
    n: int = 0

    @property
    def is_sure(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.mean is not None and self.half is not None and abs(self.mean) > self.half


@dataclass(frozen=True)
class ToolFigures:
    """One row of the table. `advantage.n` is calls, `association.n` groups, the others turns."""

    name: str
    calls: int
    errors: int
    faults: int
    p50: Figure
    p95: Figure
    advantage: Estimate
    association: Estimate
    measured: Estimate
    replayed: Estimate
    own: int
    shared: int
    parts: dict[str, float]
    """Mean a call, by component."""


@dataclass(frozen=True)
class Replays:
    """Continuations that people asked for."""

    done: int = 0
    waiting: int = 0
    failed: int = 0
    untold: int = 0
    """Done before the turn's tools were noted: in no tool's row."""


@dataclass(frozen=True)
class Audit:
    """Σ A × tokens over steps, thrice (None: not finite), and how many rollouts differ.

    `skipped`: updates left out, since their gradient was not finite.
    """

    by_turn: Figure
    by_token: Figure
    received: Figure
    audited: int
    differing: int
    skipped: int = 0


@dataclass(frozen=True)
class CreditFigures:
    """Everything of the Credit tab that is a number."""

    turns: int
    own_turns: int
    tokens: int
    own_tokens: int
    shares: dict[str, Figure]
    tools: list[ToolFigures]
    places: list[tuple[int, Estimate, int]]
    """Place from 0, mean advantage of its turns, and how many have evidence of their own."""
    replays: Replays
    audit: Audit | None
    audits: list[tuple[int, Audit]]
    """By step, the newest first."""
    most: list[tuple[int, dict[str, Any]]]
    least: list[tuple[int, dict[str, Any]]]
    """Step and example."""


def credit_figures(job: Job, window: Window) -> CreditFigures:
    """The sums of the window's steps; one query, for the continuations on demand."""
    told = [step.told("credit") for step in window.steps]
    total = added(told)
    replays, by_tool = job_replays(job)
    tools = total.get("tools") or {}
    rows = [_tool(name, sums, by_tool.get(name, [])) for name, sums in tools.items()]
    places = total.get("places") or {}
    audits = _audits(window.trained)
    return CreditFigures(
        turns=total.get("turns", 0),
        own_turns=total.get("own_turns", 0),
        tokens=total.get("tokens", 0),
        own_tokens=total.get("own_tokens", 0),
        shares=part_shares(total.get("weight") or {}),
        tools=sorted(rows, key=lambda row: (-(row.advantage.mean or 0.0), row.name)),
        places=[
            (int(place), Estimate(_ratio(sums["sum"], sums["n"]), None, sums["n"]), sums["own"])
            for place, sums in sorted(places.items(), key=lambda item: int(item[0]))
        ],
        replays=replays,
        audit=_together([audit for _, audit in audits]),
        audits=audits,
        most=_examples(window.steps, "most"),
        least=_examples(window.steps, "least"),
    )


def part_shares(weight: dict[str, float]) -> dict[str, Figure]:
    """Each component's share of Σ |part| × trained tokens; None where nothing was trained."""
    total = sum(weight.values())
    return {part: weight.get(part, 0.0) / total if total else None for part in PARTS}


def is_broadcast(job: Job) -> bool:
    """Whether the job's settings give every token of a trajectory the same advantage."""
    settings = settings_of(job)
    measures = settings.get("counterfactual_calls") and settings.get("counterfactual_weight")
    return not (settings.get("anchored_weight") or job.spec.get("turn_rewards") or measures)


def job_replays(job: Job) -> tuple[Replays, dict[str, list[tuple[float, float]]]]:
    """What was measured on demand: counts, and by tool each estimate with half its interval."""
    rows = Replay.objects.filter(trajectory__run__job=job).order_by("-pk")
    by_tool: dict[str, list[tuple[float, float]]] = defaultdict(list)
    done = waiting = failed = untold = 0
    columns = rows.values_list("run__status", "delta", "low", "high", "packed_tools")
    for status, delta, low, high, packed in columns[:MOST_REPLAYS]:
        if delta is None or low is None or high is None:
            waiting += status not in FINAL
            failed += status in FINAL
            continue
        done += 1
        names = [word for word in packed.split("|") if word]
        untold += not names
        for name in names:
            by_tool[name].append((delta, (high - low) / 2))
    return Replays(done, waiting, failed, untold), by_tool


def _tool(name: str, sums: dict[str, Any], replays: Sequence[tuple[float, float]]) -> ToolFigures:
    mean, half = clustered_mean(sums["advantage"])
    lift, lift_half = clustered_mean(sums["association"])
    delta, delta_half = measured_mean(sums["measured"])
    n = sums["advantage"].get("n", 0)
    return ToolFigures(
        name=name,
        calls=sums["calls"],
        errors=sums["errors"],
        faults=sums["faults"],
        p50=sketched_percentile(sums["seconds"], 50),
        p95=sketched_percentile(sums["seconds"], 95),
        advantage=Estimate(mean, half, n),
        association=Estimate(lift, lift_half, sums["association"].get("n", 0)),
        measured=Estimate(delta, delta_half, sums["measured"].get("n", 0)),
        replayed=_replayed(replays),
        own=sums["own"],
        shared=sums["shared"],
        parts={part: _ratio(sums["parts"][part], n) or 0.0 for part in PARTS},
    )


def _replayed(found: Sequence[tuple[float, float]]) -> Estimate:
    """The mean over the measured turns; its interval is of these turns alone."""
    n = len(found)
    if not n:
        return Estimate(None, None)
    half = sqrt(sum(half * half for _, half in found)) / n
    return Estimate(sum(delta for delta, _ in found) / n, half, n)


def _ratio(top: float, bottom: float) -> Figure:
    return top / bottom if bottom else None


def _audits(steps: Iterable[Step]) -> list[tuple[int, Audit]]:
    found = [
        (
            step.number,
            Audit(
                by_turn=step.figure("learning", "audit_by_turn"),
                by_token=step.figure("learning", "audit_by_token"),
                received=step.figure("learning", "audit_received"),
                audited=step.of("learning", "audited"),
                differing=step.of("learning", "audit_differing"),
                skipped=step.of("learning", "skipped_non_finite") or 0,
            ),
        )
        for step in steps
        if step.of("learning", "audited")
    ]
    return sorted(found, key=lambda each: -each[0])


def _together(audits: Sequence[Audit]) -> Audit | None:
    if not audits:
        return None
    return Audit(
        by_turn=_sum(audit.by_turn for audit in audits),
        by_token=_sum(audit.by_token for audit in audits),
        received=_sum(audit.received for audit in audits),
        audited=sum(audit.audited for audit in audits),
        differing=sum(audit.differing for audit in audits),
        skipped=sum(audit.skipped for audit in audits),
    )


def _sum(values: Iterable[Figure]) -> Figure:
    """None where one of them is."""
    known = list(values)
    return None if None in known else sum(value or 0.0 for value in known)


def _examples(steps: Iterable[Step], which: str) -> list[tuple[int, dict[str, Any]]]:
    sign = -1 if which == "most" else 1
    found = [(step.number, each) for step in steps for each in step.told("credit").get(which) or []]
    ranked = sorted(found, key=lambda item: (sign * item[1]["advantage"], -item[0]))
    return ranked[:EXAMPLES]
