"""The Credit tab: which calls earn, which cost, and whether that is known or guessed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.http import HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_GET

from hone.accounts.requests import MemberRequest
from hone.core import figures
from jobs.engine.insight.credit import ANSWER, OTHER_TOOLS, PARTS, PLACES
from jobs.engine.insight.sums import clustered_mean
from jobs.engine.metrics import UNKNOWN_TOOL
from jobs.selectors import access_job
from jobs.selectors.insight.credit import (
    Audit,
    CreditFigures,
    Estimate,
    ToolFigures,
    credit_figures,
    is_broadcast,
    part_shares,
)
from jobs.selectors.insight.window import Key, Step, Window, settings_of
from jobs.views.charts import Chart, Series, Value
from jobs.views.headings import home
from jobs.views.insight.frame import Frame, Link, charts_context, frame, numbers, plus_minus, shown
from jobs.views.insight.whiskers import Whisker, axis, whisker

MOST_CURVES = 6
PLACE_CURVES = 5
MOST_AUDITS = 50
"""Steps in the table of audits; those that differ are never left out."""
COLOURS = {
    "episode": "c-episode",
    "step": "c-step",
    "process": "c-process",
    "counterfactual": "c-counter",
}
NOT_A_TOOL = {ANSWER, OTHER_TOOLS, UNKNOWN_TOOL}


@dataclass(frozen=True)
class ToolRow:
    """One row of the table; `address`: the trajectories with such a call."""

    tool: ToolFigures
    address: str
    errors: float | None
    faults: float | None
    bar: Whisker | None
    half: str
    association: str
    evidence: tuple[str, ...]
    words: str


@dataclass(frozen=True)
class TurnRow:
    """One of the turns that earned or cost most."""

    link: Link
    step: int
    turn: int
    tool: str
    text: str
    advantage: float
    beyond: float


@require_GET
def credit_page(request: MemberRequest, job_id: str) -> HttpResponse:
    """Of the last steps, or of one."""
    job = access_job(request.user, job_id)
    if not job.trains:
        return redirect(home(job))
    made = frame(request, job, "credit")
    found = credit_figures(job, made.window)
    end = axis([each for row in found.tools for each in (row.advantage, row.replayed)])
    most, least = _turns(made, found)
    context = {
        **made.context,
        "found": found,
        "coverage": coverage(found),
        "attributes": found.own_turns > 0,
        "empty": empty_text(made, found),
        "rows": [_row(made, row, end) for row in found.tools],
        "end": end,
        "most": most,
        "least": least,
        "places": found.places,
        "later": PLACES - 1,
        "audit": found.audit,
        "audit_text": audit_text(found.audit),
        "audits": [
            each
            for at, each in enumerate(found.audits)
            if at < MOST_AUDITS or each[1].differing or each[1].skipped
        ],
        "budget": settings_of(job).get("counterfactual_calls"),
        "door": made.door(split="train"),
        **charts_context(made.window, _charts(made.window, found)),
    }
    return shown(request, "jobs/credit.html", "jobs/credit_body.html", context)


def coverage(found: CreditFigures) -> str:
    """How far evidence reaches, before any figure that rests on it."""
    if not found.turns:
        return ""
    parts = "  ".join(f"{part} {figures.share(found.shares[part])}" for part in PARTS)
    return (
        f"Turn-level evidence for {figures.share(found.own_turns / found.turns)} of "
        f"{figures.count(found.turns)} trained turns, "
        f"{figures.share(found.own_tokens / max(1, found.tokens))} of trained tokens. "
        f"Share of |A|: {parts.replace('  ', ', ')}."
    )


def empty_text(made: Frame, found: CreditFigures) -> str:
    """Why there is nothing to attribute, where there is nothing."""
    if is_broadcast(made.job):
        method = settings_of(made.job).get("advantage", "trajectory")
        return (
            "This job gives every token of a trajectory the same advantage "
            f"(method: {method}). There is nothing to attribute."
        )
    if made.job.last_step < 1:
        return "Credit begins with step 1, the first that trains."
    if found.turns and not found.own_turns:
        return (
            "No turn-level evidence yet: no state was met by two siblings that did different "
            "things. Advantages only repeat the episode's."
        )
    return ""


def _row(made: Frame, tool: ToolFigures, end: float) -> ToolRow:
    filters = {} if tool.name in NOT_A_TOOL else {"tool": tool.name}
    rated = tool.name not in {ANSWER}
    mean = figures.signed(tool.advantage.mean)
    half = plus_minus(tool.advantage.half)
    return ToolRow(
        tool=tool,
        address=made.door(split="train", **filters),
        errors=tool.errors / tool.calls if tool.calls and rated else None,
        faults=tool.faults / tool.calls if tool.calls and rated else None,
        bar=whisker(tool.advantage, end, is_own=tool.own > 0),
        half=half,
        association=_estimate(tool.association),
        evidence=tuple(_evidence(tool)),
        words=f"{tool.name}: mean advantage {mean} {half}, {tool.advantage.n} turns",
    )


def _estimate(estimate: Estimate) -> str:
    if estimate.mean is None:
        return figures.ABSENT
    return f"{figures.signed(estimate.mean)} {plus_minus(estimate.half)}".strip()


def _evidence(tool: ToolFigures) -> list[str]:
    """What continuations say of it, each source with its own n and interval."""
    sources = (("on demand", tool.replayed), ("by the job", tool.measured))
    return [
        f"{_estimate(estimate)}, {figures.count(estimate.n)} {where}"
        for where, estimate in sources
        if estimate.mean is not None
    ]


def _turns(made: Frame, found: CreditFigures) -> tuple[list[TurnRow], list[TurnRow]]:
    sides = (found.most, found.least)
    keys = {(step, "train", each["uid"]) for side in sides for step, each in side}
    links = made.links(keys)
    most, least = ([_turn(links, step, each) for step, each in side] for side in sides)
    return most, least


def _turn(links: dict[Key, Link], step: int, each: dict[str, Any]) -> TurnRow:
    link = links[step, "train", each["uid"]]
    anchor = f"#turn-{each['turn'] + 1}" if link.address else ""
    return TurnRow(
        link=Link(link.text, f"{link.address}{anchor}"),
        step=step,
        turn=each["turn"] + 1,
        tool=each["tool"],
        text=each["text"],
        advantage=each["advantage"],
        beyond=each["beyond"],
    )


def audit_text(audit: Audit | None) -> str:
    """What the optimiser received, against what the credit says."""
    if audit is None:
        return ""
    sums = (
        f"Σ A × tokens is {figures.signed(audit.by_turn)} by turns, "
        f"{figures.signed(audit.by_token)} by tokens, and {figures.signed(audit.received)} as the "
        "optimiser received it"
    )
    found = f"{figures.count(audit.audited)} rollouts audited, {audit.differing} differing."
    if not audit.skipped:
        return f"{sums}: {found}"
    updates = "update was" if audit.skipped == 1 else "updates were"
    return (
        f"{sums}: {found} {audit.skipped} {updates} skipped, the gradient not being finite: what "
        "was received there moved no weight."
    )


def _charts(window: Window, found: CreditFigures) -> list[Chart]:
    """None where every advantage only repeats its episode's."""
    if not found.own_turns:
        return []
    return [_shares_chart(window), _places_chart(window), *_tool_charts(window, found)]


def _shares_chart(window: Window) -> Chart:
    steps = [step for step in window.curve if step.told("credit").get("weight")]
    shares = [part_shares(step.told("credit", "weight")) for step in steps]
    return Chart(
        key="parts",
        title="Share of |A| by component",
        question="Does anything but the episode speak?",
        kind="stack",
        unit="share",
        steps=numbers(steps),
        series=tuple(
            Series(part, COLOURS[part], tuple(each[part] or 0.0 for each in shares))
            for part in PARTS
        ),
        high=1.0,
    )


def _places_chart(window: Window) -> Chart:
    steps = [step for step in window.curve if step.told("credit", "places")]
    lines = tuple(
        Series(f"turn {place + 1}", f"s{place + 1}", tuple(_place(step, place) for step in steps))
        for place in range(PLACE_CURVES)
    )
    known = [value for line in lines for value in line.values if value is not None]
    return Chart(
        key="places",
        title="Mean A by turn",
        question="Is it early or late turns that earn?",
        unit="reward",
        steps=numbers(steps),
        series=tuple(line for line in lines if any(value is not None for value in line.values)),
        low=min([0.0, *known]),
        high=max([0.0, *known]),
    )


def _place(step: Step, place: int) -> Value:
    sums = step.told("credit", "places", str(place))
    return sums["sum"] / sums["n"] if sums else None


def _tool_charts(window: Window, found: CreditFigures) -> list[Chart]:
    """Small multiples: the most called tools, all on the same two axes."""
    steps = [step for step in window.curve if step.told("credit", "tools")]
    ranked = sorted(found.tools, key=lambda tool: (tool.name == ANSWER, -tool.calls))
    curves = [(tool.name, _curve(steps, tool.name)) for tool in ranked[:MOST_CURVES]]
    known = [value for _, values in curves for value in values if value is not None]
    return [
        Chart(
            key=f"tool-{at}",
            title=name,
            question="Mean A per call",
            unit="reward",
            steps=numbers(steps),
            series=(Series("mean A", "s1", values),),
            low=min([0.0, *known]),
            high=max([0.0, *known]),
        )
        for at, (name, values) in enumerate(curves)
    ]


def _curve(steps: Sequence[Step], name: str) -> tuple[Value, ...]:
    return tuple(
        clustered_mean(step.told("credit", "tools", name, "advantage"))[0] for step in steps
    )
