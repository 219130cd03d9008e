"""The list of a job's trajectories: what the filter leaves, its histogram, marks of credit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_GET

from hone.accounts.requests import MemberRequest
from hone.core.errors import UserError
from jobs.forms.filters import FilterForm, address
from jobs.models import FINAL, Job, Trajectory, Usage
from jobs.selectors import (
    Filters,
    access_job,
    access_trajectory,
    trajectory_body,
    trajectory_list,
)
from jobs.selectors.fulltext import words_of
from jobs.selectors.histogram import Bin, GroupKey, Histogram, group_means, reward_histogram
from jobs.selectors.trajectories import leading_run
from jobs.views.excerpts import Piece, snippet
from jobs.views.headings import heading
from jobs.views.marks import Marks, turn_marks
from jobs.views.turns import turn_rows
from jobs.words import FLAG_WORDS, STOP_WORDS

BAR_PX = 64
FOLDED = ("part", "part_from", "part_to", "reward_from", "reward_to", "tool")
SORTED = (
    ("reward", "Reward"),
    ("calls", "Calls"),
    ("tokens", "Tokens"),
)
SORT_WORDS = {
    "reward": "lowest reward first",
    "-reward": "highest reward first",
    "calls": "fewest calls first",
    "-calls": "most calls first",
    "tokens": "fewest tokens first",
    "-tokens": "most tokens first",
}


@dataclass(frozen=True)
class Bar:
    """One bin of the histogram; its link sets the reward range, or takes it away again."""

    bin: Bin
    height: int
    address: str
    is_chosen: bool

    @property
    def top(self) -> int:
        return BAR_PX - self.height


@dataclass(frozen=True)
class Head:
    """A column's head that sorts; `direction` is as ARIA says it, empty where it is not sorted."""

    word: str
    address: str
    direction: str


@dataclass(frozen=True)
class Line:
    """A row of the list."""

    trajectory: Trajectory
    group_address: str
    stop: str
    flags: list[str]
    group_mean: float | None
    marks: Marks | None
    hit: tuple[Piece, ...]
    begins_group: bool


@require_GET
def trajectory_list_page(request: MemberRequest, job_id: str) -> HttpResponse:
    """The trajectories of a job, filtered, 50 a page."""
    job = access_job(request.user, job_id)
    form = FilterForm(request.GET)
    filters = form.filters()
    page = trajectory_list(
        job,
        filters,
        after=_number(request, "after"),
        before=_number(request, "before"),
        until=_number(request, "until"),
    )
    until = f"&until={request.GET['until']}" if _number(request, "until") is not None else ""
    here = f"{address(request.GET)}{until}"
    histogram = reward_histogram(job, filters)
    is_filtered = any(request.GET.get(name) for name in form.fields if name != "sort")
    context = {
        **heading(request, job, "trajectories"),
        "list_address": reverse("job-trajectories", args=[job.pk]),
        "form": form,
        "more_is_open": any(request.GET.get(name) for name in FOLDED),
        "folded": [form[name] for name in FOLDED],
        "histogram": histogram,
        "bars": _bars(request, histogram, filters),
        "heads": {word: _head(request, name, word, filters) for name, word in SORTED},
        "sorted_by": SORT_WORDS.get(filters.sort, ""),
        "page_found": page.found,
        "in_group_order": address(request.GET, sort=None),
        "graded_only": filters.sort.endswith("reward"),
        "ungraded_address": address(request.GET, sort=None, flag="ungraded"),
        "lines": _lines(job, page.rows, filters, group_means(page.rows)),
        "known_parts": sorted({name for row in page.rows for name in row.parts}),
        "known_tools": sorted({name for row in page.rows for name in row.tools}),
        "newer": page.before and f"{here}&before={page.before}",
        "older": page.after and f"{here}&after={page.after}",
        "looked_back_to": page.looked_back_to,
        "look_further": page.looked_back_to
        and f"{address(request.GET)}&until={page.looked_back_to - 1}",
        "is_filtered": is_filtered,
        "steps_beside": _steps_beside(request, job, filters),
    }
    return render(request, "jobs/trajectory_list.html", context)


@require_GET
def trajectory_news(request: MemberRequest, job_id: str) -> HttpResponse:
    """What came after the step that the list was drawn at; rows never move by themselves."""
    job = access_job(request.user, job_id)
    since = _number(request, "since")
    if since is None or job.last_step <= since:
        if job.status not in FINAL:
            return HttpResponse(status=204)
        since = job.last_step
    made = Usage.objects.filter(run_id=leading_run(job), step=job.last_step).first()
    context = {
        **heading(request, job, "trajectories"),
        "fresh": made.rollouts if made and job.last_step > since else 0,
        "since": since,
    }
    return render(request, "jobs/trajectory_news.html", context)


@require_GET
def trajectory_peek(request: MemberRequest, job_id: str, trajectory_id: int) -> HttpResponse:
    """The turns of one row, in short, to open in place."""
    trajectory = access_trajectory(request.user, job_id, trajectory_id)
    context: dict[str, Any] = {"trajectory": trajectory, "job_id": job_id}
    try:
        context["turns"] = turn_rows(trajectory_body(trajectory))
    except UserError as error:
        context["unreadable"] = error.message
    return render(request, "jobs/trajectory_peek.html", context)


def _lines(
    job: Job,
    rows: Sequence[Trajectory],
    filters: Filters,
    means: dict[GroupKey, float | None],
) -> list[Line]:
    lines: list[Line] = []
    words = words_of(filters.text)
    before: GroupKey | None = None
    addresses = {
        name: reverse("job-group", args=[job.pk, name]) for name in {row.group_id for row in rows}
    }
    for row in rows:
        group = (row.step, row.split, row.group)
        lines.append(
            Line(
                trajectory=row,
                group_address=addresses[row.group_id],
                stop=STOP_WORDS.get(row.stop, row.stop),
                flags=[FLAG_WORDS.get(flag, flag) for flag in row.flags],
                group_mean=means.get(group),
                marks=turn_marks(row.credit) if row.credit else None,
                hit=snippet(row.excerpt, words) if words else (),
                begins_group=not filters.sort and before is not None and group != before,
            )
        )
        before = group
    return lines


def _head(request: HttpRequest, name: str, word: str, filters: Filters) -> Head:
    """The first click sorts the largest on top, the next turns the order round."""
    now = filters.sort
    wanted = name if now == f"-{name}" else f"-{name}"
    direction = {name: "ascending", f"-{name}": "descending"}.get(now, "")
    return Head(word, address(request.GET, sort=wanted), direction)


def _steps_beside(request: HttpRequest, job: Job, filters: Filters) -> list[tuple[str, str]]:
    """Links to the steps before and after the chosen one, or to the newest."""
    if filters.step is None:
        if job.last_step < 0:
            return []
        return [("Newest step", address(request.GET, step=job.last_step))]
    found = []
    if filters.step > 0:
        found.append(("‹ Step before", address(request.GET, step=filters.step - 1)))
    if filters.step < job.last_step:
        found.append(("Step after ›", address(request.GET, step=filters.step + 1)))
    return [*found, ("All steps", address(request.GET, step=None))]


def _bars(request: HttpRequest, histogram: Histogram, filters: Filters) -> list[Bar]:
    most = max((each.n for each in histogram.bins), default=0)
    return [
        Bar(each, _bar_height(each.n, most), *_bin_address(request, each, filters))
        for each in histogram.bins
    ]


def _bar_height(n: int, most: int) -> int:
    return max(1, round(BAR_PX * n / most)) if n else 0


def _bin_address(request: HttpRequest, chosen: Bin, filters: Filters) -> tuple[str, bool]:
    """The link of a bin and whether it is what is shown: then the link shows all again."""
    if chosen.low is None or chosen.high is None:
        is_chosen = filters.flag == "ungraded"
        lane = None if is_chosen else "ungraded"
        return address(request.GET, flag=lane, reward_from=None, reward_to=None), is_chosen
    low, high = f"{chosen.low:g}", f"{chosen.high:g}"
    is_chosen = (request.GET.get("reward_from"), request.GET.get("reward_to")) == (low, high)
    flag = None if filters.flag == "ungraded" else filters.flag or None
    bounds = (None, None) if is_chosen else (low, high)
    return (
        address(request.GET, reward_from=bounds[0], reward_to=bounds[1], flag=flag),
        is_chosen,
    )


def _number(request: HttpRequest, name: str) -> int | None:
    given = request.GET.get(name, "")
    return int(given) if given.isdecimal() and len(given) < 19 else None
