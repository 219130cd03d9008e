"""The tab Loops & tails: does it run on, repeat itself, hit limits, and is that over?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.http import HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_GET

from hone.accounts.requests import MemberRequest
from hone.core import figures
from jobs.engine.insight.loops import REPEATED
from jobs.models import Job
from jobs.selectors import access_job
from jobs.selectors.insight.loops import Earned, Long, LoopFigures, Repeated, loop_figures
from jobs.selectors.insight.window import Key, Step, Window, settings_of
from jobs.views.charts import Chart, Series, Value
from jobs.views.headings import home
from jobs.views.insight.frame import (
    Frame,
    Link,
    charts_context,
    column,
    frame,
    numbers,
    shown,
    stop_columns,
)
from jobs.views.job_charts import stops_chart
from jobs.views.shown_charts import LEVEL
from jobs.words import STOP_WORDS

KIND_WORDS = {
    "tool_loop": "loop (tools), stopped",
    "token_loop": "loop (tokens), stopped",
    REPEATED: "same call and result 3 times or more, went on",
}
FEWEST_P95, FEWEST_P99 = 20, 100
QUARTILES = ("lowest rewards", "second quarter", "third quarter", "highest rewards")


@dataclass(frozen=True)
class EarnedRow:
    """What one kind of loop got; `address`: such trajectories."""

    words: str
    earned: Earned
    address: str


@dataclass(frozen=True)
class RepeatedRow:
    """One exhibit of the gallery."""

    words: str
    one: Repeated
    when: str
    links: list[Link]


@dataclass(frozen=True)
class LongRow:
    """One of the longest rollouts."""

    link: Link
    step: int
    stop: str
    repeated: str
    each: dict[str, Any]


@require_GET
def loops_page(request: MemberRequest, job_id: str) -> HttpResponse:
    """Of the last steps, or of one."""
    job = access_job(request.user, job_id)
    if not job.trains:
        return redirect(home(job))
    made = frame(request, job, "loops")
    found = loop_figures(made.window)
    links = made.links(_keys(found))
    context = {
        **made.context,
        "found": found,
        "lead": lead(made.window, found, job.origin_in_full),
        "earned": [_earned(made, each) for each in found.earned],
        "gallery": [_repeated(links, one) for one in found.gallery],
        "before": _long(links, found.before),
        "now": _long(links, found.now),
        "limit_share": found.limit_tokens / found.tokens if found.tokens else None,
        "door": made.door(split="train", flag="looped"),
        **charts_context(made.window, _charts(job, made.window)),
    }
    return shown(request, "jobs/loops.html", "jobs/loops_body.html", context)


def lead(window: Window, found: LoopFigures, origin: str) -> str:
    """The rate of loops now and at `origin`, which step 0 measured, and what limits cost."""
    told = []
    if found.n:
        looped = sum(found.kinds.values())
        told.append(
            f"{figures.share(looped / found.n)} of {figures.count(found.n)} training rollouts "
            f"repeat themselves; {figures.share(found.limit_tokens / max(1, found.tokens))} of "
            f"their tokens were spent in the {figures.count(found.limited)} that a limit stopped."
        )
    base, last = window.base, window.evaluated
    if base and last and base.number != last.number:
        before = base.figure("validation", "loop_rate")
        now = last.figure("validation", "loop_rate")
        if before is not None and now is not None:
            told.append(
                f"On the validation tasks the loop rate is {figures.share(now)} at step "
                f"{last.number}; the {origin}'s was {figures.share(before)}."
            )
    return " ".join(told)


def _keys(found: LoopFigures) -> list[Key]:
    longest = [(step, split, each["uid"]) for step, split, each in (*found.before, *found.now)]
    return [*longest, *(key for one in found.gallery for key in one.examples)]


def _earned(made: Frame, each: Earned) -> EarnedRow:
    filters = {"flag": "looped"} if each.kind == REPEATED else {"stop": each.kind}
    return EarnedRow(KIND_WORDS[each.kind], each, made.door(split="train", **filters))


def _repeated(links: dict[Key, Link], one: Repeated) -> RepeatedRow:
    if one.first == one.last:
        when = f"step {one.first} only" if one.died_out else f"step {one.first}"
    else:
        when = f"steps {one.first} to {one.last}"
    outcome = ", then died out" if one.died_out else ", still seen"
    shown = [links[key] for key in one.examples if key in links]
    return RepeatedRow(KIND_WORDS[one.kind], one, f"{when}{outcome}", shown)


def _long(links: dict[Key, Link], rows: Long) -> list[LongRow]:
    return [
        LongRow(
            links[step, split, each["uid"]],
            step,
            STOP_WORDS.get(str(each["stop"]), str(each["stop"])),
            f"{each['repeated']} × {each['times']}" if each["repeated"] else "",
            each,
        )
        for step, split, each in rows
    ]


def _charts(job: Job, window: Window) -> list[Chart]:
    steps = [step for step in window.curve if step.of("train")]
    settings = settings_of(job)
    return [
        _tokens_chart(steps, settings.get("max_sampled_tokens")),
        stops_chart(stop_columns(steps)),
        _loops_chart(steps),
        _calls_chart(steps, settings.get("max_tool_calls")),
        _quartiles_chart(steps),
        _limit_chart(steps),
    ]


def _level(steps: Sequence[Step], limit: Any) -> tuple[Series, ...]:
    """The configured limit, where it is a number."""
    if not isinstance(limit, int | float):
        return ()
    return (
        Series(f"limit {figures.count(limit)}", LEVEL, (float(limit),) * len(steps), dashed=True),
    )


def _enough(steps: Sequence[Step], key: str, fewest: int) -> tuple[Value, ...]:
    """A percentile of too few rollouts is their largest, and is not drawn."""
    return tuple(
        step.figure("train", key)
        if (step.figure("train", "n") or 0) - _faulted(step) >= fewest
        else None
        for step in steps
    )


def _faulted(step: Step) -> float:
    stops = step.of("train", "stops") or {}
    return float(sum(stops.get(stop, 0) for stop in ("time_limit", "tool_fault", "grader_fault")))


def _tokens_chart(steps: Sequence[Step], limit: Any) -> Chart:
    lines = (
        Series("p50", "s1", column(steps, "train", "tokens_p50")),
        Series("p95", "s2", _enough(steps, "tokens_p95", FEWEST_P95)),
        Series("p99", "s3", _enough(steps, "tokens_p99", FEWEST_P99)),
    )
    return Chart(
        key="tokens",
        title="Tokens per trajectory",
        question="How far does the tail reach? p95 from 20 rollouts on, p99 from 100.",
        unit="count",
        steps=numbers(steps),
        series=(*(line for line in lines if _known(line)), *_level(steps, limit)),
    )


def _known(line: Series) -> bool:
    return any(value is not None for value in line.values)


def _loops_chart(steps: Sequence[Step]) -> Chart:
    kinds = (
        ("tokens", "token_loop", "s4"),
        ("tools", "tool_loop", "s5"),
        ("went on", REPEATED, "s1"),
    )
    return Chart(
        key="loops",
        title="Loop rate",
        question="Which attempts repeat themselves? Of those that no fault ended.",
        unit="share",
        steps=numbers(steps),
        series=tuple(
            Series(label, colour, tuple(_rate(step, kind) for step in steps))
            for label, kind, colour in kinds
        ),
    )


def _rate(step: Step, kind: str) -> Value:
    told = step.told("train", "loops")
    return (told.get("kinds") or {}).get(kind, 0) / told["n"] if told.get("n") else None


def _calls_chart(steps: Sequence[Step], limit: Any) -> Chart:
    return Chart(
        key="calls",
        title="Tool calls per trajectory",
        question="How many calls does an attempt take?",
        unit="decimal",
        steps=numbers(steps),
        series=(
            Series("p50", "s1", column(steps, "insight", "train", "loops", "calls", "p50")),
            Series("p95", "s2", column(steps, "insight", "train", "loops", "calls", "p95")),
            Series("max", "s3", column(steps, "insight", "train", "loops", "calls", "max")),
            *_level(steps, limit),
        ),
    )


def _quartiles_chart(steps: Sequence[Step]) -> Chart:
    return Chart(
        key="quartiles",
        title="Tokens by reward quartile",
        question="Do long attempts earn more, or less?",
        unit="count",
        steps=numbers(steps),
        series=tuple(
            Series(label, f"s{at + 1}", tuple(_quartile(step, at) for step in steps))
            for at, label in enumerate(QUARTILES)
        ),
    )


def _quartile(step: Step, at: int) -> Value:
    found = step.told("train", "loops").get("quartiles")
    return float(found[at]) if found else None


def _limit_chart(steps: Sequence[Step]) -> Chart:
    return Chart(
        key="limits",
        title="Tokens spent in limit-stopped rollouts",
        question="How much of the sampling is lost to limits and loops?",
        unit="share",
        steps=numbers(steps),
        series=(Series("share of tokens", "s2", tuple(_lost(step) for step in steps)),),
    )


def _lost(step: Step) -> Value:
    told = step.told("train", "loops")
    return told["limit_tokens"] / told["tokens"] if told.get("tokens") else None
