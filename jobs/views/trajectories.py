"""One trajectory to read, in three views, and its raw JSON."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_GET

from graders.selectors import grader_list
from hone.accounts.keys import opens_to_keys
from hone.accounts.requests import MemberRequest
from hone.core.errors import UserError
from jobs.engine import types
from jobs.engine.received import audit_of
from jobs.models import Job, Trajectory
from jobs.selectors import (
    access_trajectory,
    trajectory_body,
    trajectory_replays,
    trajectory_siblings,
)
from jobs.selectors.tasks import formula, task
from jobs.services.replays import FEWEST, MOST, USUAL
from jobs.views.credit import NAMES, credit_sentence
from jobs.views.etags import tagged
from jobs.views.groups import group_reading
from jobs.views.headings import heading
from jobs.views.replays import measurements
from jobs.views.texts import cut, more
from jobs.views.tokens import token_reading
from jobs.views.turn_lines import Lines, turn_lines
from jobs.views.turns import call_text, turn_rows, turn_text, verdict
from jobs.words import FLAG_WORDS, STOP_WORDS
from jobs.workbench.selectors import mark_range, marks_of

View = Literal["turns", "group", "tokens"]
VIEWS: tuple[View, ...] = ("turns", "group", "tokens")
TEXTS = frozenset({"reasoning", "content", "raw"})
CALL_TEXTS = frozenset({"arguments", "output"})
CREDIT_KINDS = (*NAMES.items(), ("outline", "no evidence of its own"))


@require_GET
def trajectory_page(request: MemberRequest, job_id: str, trajectory_id: int) -> HttpResponseBase:
    """One trajectory: what each turn did, what came back, and what it earned."""
    trajectory = access_trajectory(request.user, job_id, trajectory_id)
    job = trajectory.run.job
    context = {
        **heading(request, job, "trajectories"),
        **_figures(request, job, trajectory),
        **_opinion(request, job, trajectory),
    }
    try:
        body = trajectory_body(trajectory)
        context |= _reading(request, job, trajectory, body, context)
    except UserError as error:
        context["unreadable"] = error.message
    return tagged(request, render(request, "jobs/trajectory.html", context))


@require_GET
def turn_fragment(
    request: MemberRequest, job_id: str, trajectory_id: int, number: int
) -> HttpResponse:
    """What one turn of a long trajectory said and called, for its place on the page."""
    trajectory = access_trajectory(request.user, job_id, trajectory_id)
    job = trajectory.run.job
    try:
        body = trajectory_body(trajectory)
    except UserError as error:
        return _unreadable(error)
    lines = _lines(request, job, trajectory, body, group_mean=None)
    line = next((line for line in lines.lines if line.row.number == number), None)
    if line is None:
        raise Http404("There is nothing here that you can see.")
    context = {
        **heading(request, job, "trajectories"),
        **_measuring(),
        "trajectory": trajectory,
        "line": line,
        "turn": line.row,
    }
    return render(request, "jobs/turn_body.html", context)


@require_GET
def text_fragment(request: MemberRequest, job_id: str, trajectory_id: int) -> HttpResponse:
    """More of a long text, `from` an offset; without htmx the rest of it as plain text."""
    trajectory = access_trajectory(request.user, job_id, trajectory_id)
    try:
        text, asked = _asked_text(request, trajectory_body(trajectory))
    except UserError as error:
        return _unreadable(error)
    offset = _number(request, "from") or 0
    if not request.headers.get("HX-Request"):
        return HttpResponse(text[offset:], content_type="text/plain; charset=utf-8")
    context = {"job_id": job_id, "trajectory": trajectory, "piece": more(text, offset), **asked}
    return render(request, "jobs/trajectory_more.html", context)


@opens_to_keys
@require_GET
def trajectory_json(request: MemberRequest, job_id: str, trajectory_id: int) -> HttpResponse:
    """The whole stored body."""
    trajectory = access_trajectory(request.user, job_id, trajectory_id)
    try:
        body = msgspec.json.encode(trajectory_body(trajectory))
    except UserError as error:
        return _unreadable(error)
    return HttpResponse(body, content_type="application/json")


def _unreadable(error: UserError) -> HttpResponse:
    return HttpResponse(error.message, status=410, content_type="text/plain; charset=utf-8")


def _figures(request: HttpRequest, job: Job, trajectory: Trajectory) -> dict[str, Any]:
    """What the index row and its siblings say; no body is opened for it."""
    siblings = list(trajectory_siblings(trajectory))
    rewards = [each.reward for each in siblings if each.reward is not None]
    at = next((place for place, each in enumerate(siblings) if each.pk == trajectory.pk), 0)
    wanted = request.GET.get("view", "turns")
    view: View = next((name for name in VIEWS if name == wanted), "turns")
    row = task(job, trajectory)
    return {
        "trajectory": trajectory,
        "task": row,
        "prompt": [{"role": each["role"], "text": cut(each["text"])} for each in row.messages],
        "formula": formula(job.grader_version),
        "stop": STOP_WORDS.get(trajectory.stop, trajectory.stop),
        "flags": [FLAG_WORDS.get(flag, flag) for flag in trajectory.flags],
        "siblings": siblings,
        "place": at + 1,
        "sibling_before": siblings[at - 1] if at else None,
        "sibling_after": siblings[at + 1] if at + 1 < len(siblings) else None,
        "graded": len(rewards),
        "group_mean": sum(rewards) / len(rewards) if rewards else None,
        "view": view,
        "next_view": VIEWS[(VIEWS.index(view) + 1) % len(VIEWS)],
        "views": VIEWS,
    }


def _reading(
    request: HttpRequest,
    job: Job,
    trajectory: Trajectory,
    body: types.Trajectory,
    figures: dict[str, Any],
) -> dict[str, Any]:
    lines = _lines(
        request,
        job,
        trajectory,
        body,
        group_mean=figures["group_mean"],
        siblings=figures["siblings"],
    )
    rows = [line.row for line in lines.lines]
    raw = body.grading.get("raw_reward")
    context: dict[str, Any] = {
        "body": body,
        "lines": lines,
        "credit_kinds": CREDIT_KINDS,
        "turns": rows,
        "credit": credit_sentence([row.credit for row in rows]),
        "audit": audit_of(body),
        "verdict": verdict(body, rows),
        "trained_tokens": body.trained_tokens if body.trained else 0,
        "grading": body.grading,
        "raw_reward": raw if raw != body.reward else None,
        "fixture_score": body.reward if raw is None else raw,
        **_measuring(),
    }
    if figures["view"] == "group":
        siblings = figures["siblings"]
        context |= group_reading(request, siblings, trajectory, {trajectory.pk: body})
    if figures["view"] == "tokens":
        context |= token_reading(request, job, body)
    return context


def _lines(
    request: HttpRequest,
    job: Job,
    trajectory: Trajectory,
    body: types.Trajectory,
    *,
    group_mean: float | None,
    siblings: list[Trajectory] | None = None,
) -> Lines:
    engine = job.spec.get("engine") or {}
    rows = turn_rows(
        body,
        continuations_train=bool(engine.get("counterfactual_weight")),
        measured=measurements(trajectory_replays(trajectory)),
    )
    gamma = engine.get("credit_gamma")
    return turn_lines(
        rows,
        summaries=[each.credit for each in siblings or () if each.credit],
        per="turn" if request.GET.get("bars") == "turn" else "token",
        reward=body.reward,
        group_mean=group_mean,
        gamma=float(gamma) if gamma is not None else None,
        opened=_number(request, "turn"),
    )


def _measuring() -> dict[str, int]:
    return {
        "fewest_continuations": FEWEST,
        "usual_continuations": USUAL,
        "most_continuations": MOST,
    }


def _asked_text(request: HttpRequest, body: types.Trajectory) -> tuple[str, dict[str, Any]]:
    number, place = _number(request, "turn") or 0, _number(request, "call")
    what = request.GET.get("what", "")
    asked = {"turn_number": number, "call_place": place, "what": what}
    if 0 < number <= len(body.turns):
        turn = body.turns[number - 1]
        if place is None and what in TEXTS:
            return turn_text(body, turn, what), asked
        if place is not None and place < len(turn.calls) and what in CALL_TEXTS:
            return call_text(turn.calls[place], what), asked
    raise Http404("There is nothing here that you can see.")


def _opinion(request: MemberRequest, job: Job, trajectory: Trajectory) -> dict[str, Any]:
    """What people say it is worth, and the graders that may keep it as a fixture."""
    marks = marks_of([trajectory]).get(trajectory.pk, [])
    version = job.grader_version
    return {
        "marks": marks,
        "mine": next((mark.value for mark in marks if mark.user_id == request.user.pk), None),
        "mark_range": mark_range(version.spec if version else None),
        "graders": list(grader_list(job.organisation)),
        "job_grader": version.grader_id if version else "",
        "here_address": reverse("trajectory", args=[job.pk, trajectory.pk]),
    }


def _number(request: HttpRequest, name: str) -> int | None:
    given = request.GET.get(name, "")
    return int(given) if given.isdecimal() and len(given) < 10 else None
