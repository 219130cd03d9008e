"""Jobs, or steps of jobs, side by side: which is better, by how much, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import pairwise
from typing import Any

from django.http import Http404, HttpResponse, QueryDict
from django.shortcuts import render
from django.urls import reverse
from django.utils.safestring import SafeString
from django.views.decorators.http import require_GET

from hone.accounts.requests import MemberRequest, current_organisation
from hone.accounts.selectors import may
from hone.core import figures
from hone.core.errors import UserError
from jobs.forms.compare import AXES, FEWEST, MOST, Wanted, axis, number, place, wanted
from jobs.forms.filters import address
from jobs.models import Job
from jobs.selectors import job_list
from jobs.selectors.access import access_jobs
from jobs.selectors.compare.curves import curves_of
from jobs.selectors.compare.differences import differences, same_measure
from jobs.selectors.compare.paired import Pair, paired, quadrants, signs
from jobs.selectors.compare.sides import Side, figure, sides
from jobs.selectors.compare.tasks import Results, results
from jobs.views.chart_files import chart_file
from jobs.views.charts import Chart
from jobs.views.compare_charts import (
    change_scatter,
    colour,
    compared_charts,
    dumbbell,
    moves,
    place_words,
    scatter,
    shown_compared,
    spread,
)
from jobs.views.compare_task import task_side_by_side
from jobs.views.shown_charts import ShownChart
from jobs.workbench.measures import paired_difference

MOST_CHOICES = 50
MOST_TASKS = 50
CALL_WORDS = {"fewer": "fewer calls", "same": "as many calls", "more": "more calls"}
REWARD_WORDS = {"better": "better", "same": "equal", "worse": "worse"}


@dataclass(frozen=True)
class SideRow:
    """A line of the table, with the doors behind its numbers."""

    side: Side
    colour: str
    key: int
    solo: str
    is_solo: bool
    calls: float | None
    loops: float | None
    ungraded: float | None
    attempts: float | None
    door: str


@dataclass(frozen=True)
class TaskRow:
    """One task, before and after."""

    pair: Pair
    picture: SafeString
    address: str


@dataclass(frozen=True)
class Unlike:
    """Two jobs whose rewards are not one measure; `doors` grade a job again with `version`."""

    names: tuple[str, str]
    why: str
    version: str = ""
    doors: tuple[tuple[Job, str], ...] = ()


@require_GET
def compare_page(request: MemberRequest) -> HttpResponse:
    """The comparison; or, with fewer than two jobs or a bad address, what to choose."""
    try:
        asked = wanted(request.GET)
        found = _sides(request, asked)
    except UserError as error:
        return _choose(request, [], error.message, status=400)
    if len(found) < FEWEST or "choose" in request.GET:
        return _choose(request, asked, "", status=200)
    return render(request, "jobs/compare.html", _compared(request, found))


@require_GET
def compare_chart(request: MemberRequest, key: str, form: str) -> HttpResponse:
    """One chart of the comparison at the same query, as CSV or as a picture."""
    try:
        found = _sides(request, wanted(request.GET))
    except UserError as error:
        raise Http404(error.message) from error
    solo = place(request.GET, "solo", most=len(found))
    charts = compared_charts(found, curves_of(found), axis(request.GET), solo=solo)
    chart = next((chart for chart in charts if chart.key == key), None)
    if chart is None or not found:
        raise Http404("A comparison has no such chart.")
    return chart_file(chart, form, f"compare-{key}")


def _sides(request: MemberRequest, asked: Sequence[Wanted]) -> list[Side]:
    jobs = access_jobs(request.user, {each.job_id for each in asked})
    return sides([(jobs[each.job_id], each.step) for each in asked])


def _choose(
    request: MemberRequest, asked: Sequence[Wanted], problem: str, *, status: int
) -> HttpResponse:
    jobs = job_list(current_organisation(request)).filter(last_step__gte=0)[:MOST_CHOICES]
    context = {
        "jobs": jobs,
        "ticked": {each.job_id for each in asked},
        "problem": problem,
        "most": MOST,
    }
    return render(request, "jobs/compare_choose.html", context, status=status)


def _compared(request: MemberRequest, found: list[Side]) -> dict[str, Any]:
    query = request.GET
    chosen_axis = axis(query)
    solo = place(query, "solo", most=len(found))
    curves = curves_of(found)
    places = [(side.run_id, step) for side in found for step in (0, side.focus) if step is not None]
    tasks = results(places)
    apart, unlike = differences([side.job for side in found]), _unlike(request, found)
    charts = compared_charts(found, curves, chosen_axis, solo=solo)
    warning = "not the same measure" if unlike else ""
    return {
        "sides": [_row(query, at, side, solo) for at, side in enumerate(found)],
        "names": [side.name for side in found],
        "verdict": _verdict(found),
        "axes": [(word, address(query, x=key), key == chosen_axis) for key, word in AXES],
        "axis": chosen_axis,
        "charts": [_shown(query, chart, warning) for chart in charts],
        "places": place_words(curves, chosen_axis),
        "solo": solo,
        "all_address": address(query, solo=None),
        "scatters": _scatters(found, tasks),
        "apart": apart,
        "unlike": unlike,
        **_paired(query, found, tasks),
    }


def _shown(query: QueryDict, chart: Chart, warning: str) -> ShownChart:
    csv, svg = (
        f"{reverse('compare-chart', args=[chart.key, form])}?{query.urlencode()}"
        for form in ("csv", "svg")
    )
    return shown_compared(chart, csv=csv, svg=svg, warning=warning)


def _row(query: QueryDict, at: int, side: Side, solo: int | None) -> SideRow:
    trajectories = reverse("job-trajectories", args=[side.job.pk])
    return SideRow(
        side=side,
        colour=colour(at),
        key=at + 1,
        solo=address(query, solo=None if solo == at else at + 1),
        is_solo=solo == at,
        calls=figure(side.validation, "tool_calls_p95"),
        loops=figure(side.validation, "loop_rate"),
        ungraded=figure(side.validation, "ungraded"),
        attempts=figure(side.validation, "n"),
        door=f"{trajectories}?step={side.focus}&split=validation",
    )


def _verdict(found: Sequence[Side]) -> str:
    known = [(side.reward, side) for side in found if side.reward is not None]
    if not known:
        return "None of these was evaluated yet."
    ranked = sorted(known, key=lambda each: -each[0])
    said = ", ".join(
        f"{side.name} {figures.reward(reward)} at step {side.focus}" for reward, side in ranked
    )
    missing = [side.name for side in found if side.reward is None]
    rest = f" Not evaluated yet: {', '.join(missing)}." if missing else ""
    return f"Validation reward: {said}.{rest}"


def _scatters(found: Sequence[Side], tasks: dict[tuple[str, int], Results]) -> list[Any]:
    made = (
        scatter(
            "Reward against tokens",
            "Is the gain paid for in tokens?",
            moves(found, tasks, "tokens"),
            figures.count,
        ),
        scatter(
            "Reward against time",
            "Is the gain paid for in seconds an attempt?",
            moves(found, tasks, "seconds"),
            figures.duration,
        ),
    )
    return [each for each in made if each is not None]


def _unlike(request: MemberRequest, found: Sequence[Side]) -> list[Unlike]:
    """Neighbours whose rewards are not one measure, with the doors to grade them alike."""
    told = [
        Unlike((one.name, other.name), why)
        for one, other in pairwise(found)
        if (why := same_measure(one.job, other.job))
    ]
    graded = {side.job.pk: side.job for side in found if side.job.grader_version_id}
    if not told or len({job.grader_version_id for job in graded.values()}) < FEWEST:
        return told
    newest = max(graded.values(), key=_made).grader_version
    assert newest is not None
    doors = [
        (job, f"{reverse('comparison-new')}?job={job.pk}&a=stored&b={newest.pk}")
        for job in graded.values()
        if job.grader_version_id != newest.pk and may(request.user, job.organisation_id, "write")
    ]
    return [replace(told[0], version=str(newest), doors=tuple(doors)), *told[1:]]


def _made(job: Job) -> datetime:
    assert job.grader_version is not None
    return job.grader_version.created_at


def _paired(
    query: QueryDict, found: list[Side], tasks: dict[tuple[str, int], Results]
) -> dict[str, Any]:
    """Two of the sides, task by task; the first two unless the address names others."""
    first = place(query, "before", most=len(found)) or 0
    second = place(query, "after", most=len(found))
    if second is None or second == first:
        second = 1 if first == 0 else 0
    before, after = found[first], found[second]
    context: dict[str, Any] = {
        "before": before,
        "after": after,
        "before_at": first + 1,
        "after_at": second + 1,
        "why_not": same_measure(before.job, after.job),
    }
    if context["why_not"] or before.focus is None or after.focus is None:
        return context
    left, right = tasks[before.run_id, before.focus], tasks[after.run_id, after.focus]
    pairs = paired(left, right)
    quadrant = query.get("change", "")
    counts = quadrants(pairs)
    kept = [pair for pair in pairs if pair.quadrant == quadrant] if quadrant in counts else pairs
    row = number(query, "task")
    return {
        **context,
        "pairs": len(pairs),
        "signs": signs(pairs),
        "difference": paired_difference(
            [pair.before for pair in pairs], [pair.after for pair in pairs]
        ),
        "not_paired": len(left.keys() | right.keys()) - len(pairs),
        "grid": _grid(query, counts, quadrant),
        "change_picture": change_scatter(pairs),
        "task_rows": _task_rows(query, kept, spread(pairs), (colour(first), colour(second))),
        "left_out": max(0, len(kept) - MOST_TASKS),
        "is_narrowed": quadrant in counts,
        "every_task": address(query, change=None, task=None, left=None, right=None) + "#tasks",
        "task": task_side_by_side(query, before, after, row=row - 1) if row else None,
        "task_asked": row,
    }


def _grid(query: QueryDict, counts: dict[str, int], here: str) -> list[dict[str, Any]]:
    return [
        {
            "word": word,
            "cells": [
                {
                    "n": counts[f"{reward}-{calls}"],
                    "address": address(query, change=f"{reward}-{calls}", task=None) + "#tasks",
                    "here": here == f"{reward}-{calls}",
                    "label": f"{word}, {call_word}",
                }
                for calls, call_word in CALL_WORDS.items()
            ],
        }
        for reward, word in REWARD_WORDS.items()
    ]


def _task_rows(
    query: QueryDict,
    pairs: Sequence[Pair],
    axis_ends: tuple[float, float],
    colours: tuple[str, str],
) -> list[TaskRow]:
    """The largest changes of both signs where there are too many, in their order."""
    half = MOST_TASKS // 2
    shown = pairs if len(pairs) <= MOST_TASKS else [*pairs[:half], *pairs[-half:]]
    return [
        TaskRow(
            pair,
            dumbbell(pair, *axis_ends, colours),
            address(query, task=pair.row + 1, left=None, right=None) + "#task",
        )
        for pair in shown
    ]
