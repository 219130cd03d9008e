"""Trajectories: the filtered list, one of them to read, and its raw JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from hone.accounts.requests import MemberRequest
from hone.core.errors import UserError
from jobs.forms.filters import FilterForm, address
from jobs.models import Job, Trajectory
from jobs.selectors import (
    Filters,
    access_job,
    access_trajectory,
    trajectory_body,
    trajectory_list,
    trajectory_siblings,
)
from jobs.selectors.browse import Bin, group_means, reward_histogram
from jobs.selectors.tasks import formula, task
from jobs.views.headings import heading
from jobs.views.turns import cut, turn_rows, verdict
from jobs.words import FLAG_WORDS, STOP_WORDS

BAR_PX = 64


@dataclass(frozen=True)
class Bar:
    """One bin of the histogram; its link sets the reward range."""

    bin: Bin
    height: int
    address: str

    @property
    def top(self) -> int:
        return BAR_PX - self.height


@dataclass(frozen=True)
class Line:
    """A row of the list."""

    trajectory: Trajectory
    stop: str
    flags: list[str]
    group_mean: float | None


@require_GET
def trajectory_list_page(request: MemberRequest, job_id: str) -> HttpResponse:
    """The trajectories of a job, filtered, 50 a page."""
    job = access_job(request.user, job_id)
    form = FilterForm(request.GET)
    filters = form.filters()
    page = trajectory_list(job, filters, after=_id(request, "after"), before=_id(request, "before"))
    context = {
        **heading(request, job, "trajectories"),
        "form": form,
        "bars": _bars(request, job, filters),
        "lines": _lines(page.rows),
        "newer": page.before and f"{address(request.GET)}&before={page.before}",
        "older": page.after and f"{address(request.GET)}&after={page.after}",
        "is_filtered": any(request.GET.get(name) for name in form.fields),
    }
    return render(request, "jobs/trajectory_list.html", context)


@require_GET
def trajectory_page(request: MemberRequest, job_id: str, trajectory_id: int) -> HttpResponse:
    """One trajectory: what each turn did, what came back, and what it earned."""
    job = access_job(request.user, job_id)
    trajectory = access_trajectory(request.user, job_id, trajectory_id)
    context = {**heading(request, job, "trajectories"), **reading(job, trajectory)}
    return render(request, "jobs/trajectory.html", context)


@require_GET
def trajectory_json(request: MemberRequest, job_id: str, trajectory_id: int) -> HttpResponse:
    """The whole stored body."""
    trajectory = access_trajectory(request.user, job_id, trajectory_id)
    try:
        body = msgspec.json.encode(trajectory_body(trajectory))
    except UserError as error:
        return HttpResponse(error.message, status=410, content_type="text/plain; charset=utf-8")
    return HttpResponse(body, content_type="application/json")


def reading(job: Job, trajectory: Trajectory) -> dict[str, Any]:
    """The context of a page about one trajectory; says so where its body cannot be read."""
    siblings = list(trajectory_siblings(trajectory))
    rewards = [each.reward for each in siblings if each.reward is not None]
    row = task(job, trajectory)
    context: dict[str, Any] = {
        "trajectory": trajectory,
        "task": row,
        "formula": formula(job.grader_version),
        "stop": STOP_WORDS.get(trajectory.stop, trajectory.stop),
        "flags": [FLAG_WORDS.get(flag, flag) for flag in trajectory.flags],
        "siblings": siblings,
        "graded": len(rewards),
        "group_mean": sum(rewards) / len(rewards) if rewards else None,
        "prompt": [{"role": each["role"], "text": cut(each["text"])} for each in row.messages],
    }
    try:
        body = trajectory_body(trajectory)
    except UserError as error:
        return {**context, "unreadable": error.message}
    rows = turn_rows(body)
    trained = body.sampled_tokens if body.trained else 0
    raw = body.grading.get("raw_reward")
    return {
        **context,
        "body": body,
        "turns": rows,
        "verdict": verdict(body, rows),
        "trained_tokens": trained,
        "grading": body.grading,
        "raw_reward": raw if raw != body.reward else None,
    }


def _lines(rows: Any) -> list[Line]:
    means = group_means(rows)
    return [
        Line(
            trajectory=row,
            stop=STOP_WORDS.get(row.stop, row.stop),
            flags=[FLAG_WORDS.get(flag, flag) for flag in row.flags],
            group_mean=means.get((row.step, row.split, row.group)),
        )
        for row in rows
    ]


def _bars(request: HttpRequest, job: Job, filters: Filters) -> list[Bar]:
    bins = reward_histogram(job, filters)
    most = max((each.n for each in bins), default=0)
    return [Bar(each, _bar_height(each.n, most), _bin_address(request, each)) for each in bins]


def _bar_height(n: int, most: int) -> int:
    return max(1, round(BAR_PX * n / most)) if n else 0


def _bin_address(request: HttpRequest, chosen: Bin) -> str:
    if chosen.low is None or chosen.high is None:
        return address(request.GET, flag="ungraded", reward_from=None, reward_to=None)
    return address(
        request.GET, reward_from=f"{chosen.low:g}", reward_to=f"{chosen.high:g}", flag=None
    )


def _id(request: HttpRequest, name: str) -> int | None:
    given = request.GET.get(name, "")
    return int(given) if given.isdecimal() and len(given) < 19 else None
