"""The Graders tab: whether the reward is honest, steady and affordable."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.http import HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.http import urlencode
from django.views.decorators.http import require_GET

from hone.accounts.requests import MemberRequest
from hone.core import figures
from jobs.models import Job
from jobs.selectors import access_job
from jobs.selectors.insight.graders import GraderFigures, grader_figures
from jobs.selectors.insight.window import Window
from jobs.views.charts import Chart, Series
from jobs.views.headings import home
from jobs.views.insight.frame import Frame, Link, charts_context, frame, numbers, shown
from jobs.views.job_charts import MOST_LINES
from jobs.words import STOP_WORDS

ERROR_WORDS = {
    "formula_parse": "formula could not be computed",
    "sample_parse": "answer could not be read",
    "truncated_observation": "sample too long to grade whole",
    "unresponsive_reward": "no finite number",
    "invalid_variable": "variable missing in the row",
    "other": "other error",
    "python_grader_server": "Python grader not run",
    "python_grader_runtime": "Python grader raised an error",
    "model_grader_server": "judge not answering",
    "model_grader_refusal": "judge refused",
    "model_grader_parse": "judge's answer not understood",
}
HELD_OUT = "held_out:"


@dataclass(frozen=True)
class ErrorRow:
    """How many rollouts have no score for one kind of error."""

    words: str
    code: str
    n: int
    address: str


@dataclass(frozen=True)
class Suspect:
    """A high reward that the second grader does not see."""

    link: Link
    step: int
    reward: float
    held_out: float


@require_GET
def graders_page(request: MemberRequest, job_id: str) -> HttpResponse:
    """Of the last steps, or of one."""
    job = access_job(request.user, job_id)
    if not job.trains:
        return redirect(home(job))
    made = frame(request, job, "graders")
    found = grader_figures(job, made.window)
    context = {
        **made.context,
        "found": found,
        "lead": lead(found),
        "held_out_text": held_out_text(job, found),
        "errors": _errors(made, found),
        "suspects": _suspects(made, found),
        "judges": sorted(found.judges.items()),
        "bench": _bench(job, made.window),
        "door": made.door(split="train"),
        **charts_context(made.window, _charts(made.window, found)),
    }
    return shown(request, "jobs/graders_tab.html", "jobs/graders_body.html", context)


def lead(found: GraderFigures) -> str:
    """What is wrong with the reward first; then what it is."""
    if not found.n:
        return ""
    told = [
        f"{figures.count(found.graded)} of {figures.count(found.n)} rollouts graded, "
        f"{figures.count(found.n - found.graded)} ungraded."
    ]
    told += [
        f"{part.name} explains {figures.share(part.explained)} of the reward's variance."
        for part in found.parts
        if part.dominates and len(found.parts) > 1
    ]
    told += [
        f"{part.name} is saturated since step {part.saturated_since}: it gives no signal."
        for part in found.parts
        if part.saturated_since is not None
    ]
    return " ".join(told)


def held_out_text(job: Job, found: GraderFigures) -> str:
    """What the second grader says, or that there is none."""
    if not job.spec.get("held_out_grader"):
        return (
            "This job has no held-out grader, so nothing outside its own reward says whether the "
            "reward is honest. Name one when you make a job."
        )
    if not found.held_out_n:
        return "None of these steps evaluated. The held-out grader scores validation rollouts."
    related = (
        "one of the two never varies, so they cannot be correlated"
        if found.held_out is None
        else f"their correlation is {figures.signed(found.held_out)}"
    )
    return (
        f"The held-out grader gave {figures.reward(found.held_out_mean)} on average to "
        f"{figures.count(found.held_out_n)} validation rollouts; against the reward, {related}."
    )


def _errors(made: Frame, found: GraderFigures) -> list[ErrorRow]:
    rows = []
    for code, n in sorted(found.errors.items(), key=lambda item: (-item[1], item[0])):
        plain = code.removeprefix(HELD_OUT)
        words = ERROR_WORDS.get(plain) or STOP_WORDS.get(plain, plain)
        if plain != code:
            rows.append(ErrorRow(f"held-out grader: {words}", code, n, made.door()))
            continue
        filters = {"stop": plain} if plain in STOP_WORDS else {"flag": "ungraded"}
        rows.append(ErrorRow(words, code, n, made.door(**filters)))
    return rows


def _suspects(made: Frame, found: GraderFigures) -> list[Suspect]:
    links = made.links((step, "validation", each["uid"]) for step, each in found.suspects)
    return [
        Suspect(
            links[step, "validation", each["uid"]], step, float(each["reward"]), each["held_out"]
        )
        for step, each in found.suspects
    ]


def _bench(job: Job, window: Window) -> str:
    """The form of a comparison of these steps' graded rollouts; empty where there are none."""
    if not window.steps:
        return ""
    asked: dict[str, Any] = {
        "job": job.pk,
        "a": "stored",
        "first_step": window.steps[0].number,
        "last_step": window.steps[-1].number,
    }
    return f"{reverse('comparison-new')}?{urlencode(asked)}"


def _charts(window: Window, found: GraderFigures) -> list[Chart]:
    """Small multiples, one a part, all on the same axes; the part that moved most comes first."""
    known = [value for part in found.parts for value in part.values if value is not None]
    low, high = min([0.0, *known]), max([1.0, *known])
    moved = sorted(found.parts, key=lambda part: (-_change(part.values), part.name))
    return [
        Chart(
            key=f"part-{at}",
            title=part.name,
            question="mean of the part",
            unit="reward",
            steps=numbers(window.curve),
            series=(Series("mean", "s1", part.values),),
            low=low,
            high=high,
        )
        for at, part in enumerate(moved[:MOST_LINES])
    ]


def _change(values: tuple[float | None, ...]) -> float:
    known = [value for value in values if value is not None]
    return abs(known[-1] - known[0]) if known else 0.0
