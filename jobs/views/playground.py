"""The playground: a task, two models beside each other, and the tries of the past."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from hone.accounts.models import Organisation
from hone.accounts.requests import MemberRequest, current_organisation
from hone.accounts.selectors import access_organisation, may
from hone.core.errors import UserError
from hone.core.htmx import target, vary
from jobs.forms.playground import (
    PlaygroundForm,
    again,
    beside_base,
    playground_choices,
    swapped,
)
from jobs.models import Checkpoint, Job, Run
from jobs.selectors import access_checkpoint, base_models_ready, queue_of
from jobs.selectors.access import checkpoint_of
from jobs.selectors.marks import Mark, job_mark
from jobs.selectors.tryouts import access_tryout, tryout_list, tryout_sides
from jobs.services.tryouts import CHECKPOINT, tryout_create, tryout_stop
from jobs.views.headings import heading, job_badge
from jobs.views.messages import tell
from jobs.views.tryout_sides import given_messages, sides_of, tryout_verdict

FRAGMENT = "side-"


@require_http_methods(["GET", "HEAD", "POST"])
def playground_page(request: MemberRequest) -> HttpResponse:
    """The form and the past tries; POST begins a try, or exchanges the sides of the form."""
    organisation = current_organisation(request)
    if request.method != "POST":
        if "again" in request.GET:
            return _again(request, organisation)
        return _first(request, organisation)
    access_organisation(request.user, organisation.pk, need="write")
    choices = playground_choices(organisation, _point_named(organisation, request.POST))
    if request.POST.get("do") == "swap":
        sent = request.POST.dict() | {"tools": request.POST.getlist("tools")}
        return _show(request, PlaygroundForm(initial=swapped(sent), choices=choices))
    form = PlaygroundForm(request.POST, choices=choices)
    if form.is_valid():
        try:
            job = tryout_create(
                acting_user=request.user, organisation=organisation, request=form.as_request()
            )
            return redirect("tryout", job.pk)
        except UserError as error:
            form.refuse(error)
    return _show(request, form, status=422)


@require_GET
def tryout_page(request: MemberRequest, job_id: str) -> HttpResponse:
    """One try, or the side of it that `HX-Target` names."""
    job = access_tryout(request.user, job_id)
    context = _glance(request, job, job_mark(job))
    asked = target(request)
    if asked.startswith(FRAGMENT):
        side = next((each for each in context["sides"] if each.element == asked), None)
        return vary(render(request, "jobs/tryout_side.html", {**context, "side": side}))
    if request.GET.get("swap"):
        context["sides"] = context["sides"][::-1]
    return vary(render(request, "jobs/tryout.html", context))


@require_GET
def tryout_pulse(request: MemberRequest, job_id: str) -> HttpResponse:
    """204 while nothing is new; else where it stands, and a trigger for the sides."""
    job = access_tryout(request.user, job_id)
    since = request.GET.get("since", "")
    mark = job_mark(job)
    if since == _seen(job, mark):
        return HttpResponse(status=204)
    context = _glance(request, job, mark)
    is_new_state = since.split("~")[1:2] != [job.status]
    response = render(request, "jobs/tryout_pulse.html", {**context, "announce": is_new_state})
    response["HX-Trigger"] = "tryout-news"
    return vary(response)


@require_POST
def stop(request: MemberRequest, job_id: str) -> HttpResponse:
    """End a try that has not ended."""
    job = access_tryout(request.user, job_id, need="write")
    try:
        tryout_stop(acting_user=request.user, job=job)
    except UserError as error:
        tell(request, error)
    return redirect("tryout", job_id)


def _seen(job: Job, mark: Mark) -> str:
    return f"{mark}~{job.tryout.heard}"


def _glance(request: HttpRequest, job: Job, mark: Mark) -> dict[str, Any]:
    run = Run.objects.get(job=job)
    sides = sides_of(job, run)
    return {
        **heading(request, job, "overview", mark),
        "tryout": job.tryout,
        "seen": _seen(job, mark),
        "sides": sides,
        "given": given_messages(job),
        "verdict": tryout_verdict(job, sides),
        "pause_text": run.pause_text,
        "queue": queue_of(job),
    }


def _again(request: MemberRequest, organisation: Organisation) -> HttpResponse:
    """The form as an earlier try filled it, on the page of all tries."""
    job = access_tryout(request.user, request.GET["again"], need="write")
    if job.organisation_id != organisation.pk:
        there = job.organisation.name
        messages.warning(
            request, f"That try is of {there}. Choose {there} at the top to make another like it."
        )
        return _show(request, PlaygroundForm(choices=playground_choices(organisation)))
    choices = playground_choices(organisation, _point_of(job))
    values = again(job, choices)
    form = PlaygroundForm(
        initial=swapped(values) if request.GET.get("swap") else values, choices=choices
    )
    return _show(request, form)


def _first(request: MemberRequest, organisation: Organisation) -> HttpResponse:
    if not may(request.user, organisation.pk, "write"):
        return _show(request, None)
    given = request.GET
    point = _checkpoint(request, given.get("checkpoint", ""))
    choices = playground_choices(organisation, point)
    names = ("a", "b", "version", "row")
    values: dict[str, Any] = {name: given[name] for name in names if name in given}
    if point is not None:
        values = beside_base(point, base_models_ready(), choices) | values
    form = PlaygroundForm(initial=values, choices=choices)
    if point is not None and not point.available:
        where = f"step {point.step} of {point.run.job.name}"
        messages.warning(request, f"The files of {where} are gone or damaged. Choose another one.")
    return _show(request, form)


def _checkpoint(request: MemberRequest, given: str) -> Checkpoint | None:
    """`<job>@<step>` of an address."""
    job, at, step = given.partition("@")
    if not at or not step.isdecimal() or len(step) > 9:
        return None
    found = access_checkpoint(request.user, job, int(step))
    return checkpoint_of(found.run.job.organisation, found.pk)


def _point_named(organisation: Organisation, sent: QueryDict) -> Checkpoint | None:
    """The checkpoint that the form was sent with: it may be older than those that are listed."""
    for side in ("b", "a"):
        kind, _, pk = sent.get(side, "").partition(":")
        if kind == CHECKPOINT and pk.isdecimal() and len(pk) < 19:
            return checkpoint_of(organisation, int(pk))
    return None


def _point_of(job: Job) -> Checkpoint | None:
    """The checkpoint of a try's last side that has one."""
    points = [side["checkpoint"] for side in job.spec["sides"] if side["checkpoint"]]
    return checkpoint_of(job.organisation, points[-1]) if points else None


def _show(
    request: MemberRequest, form: PlaygroundForm | None, *, status: int = 200
) -> HttpResponse:
    jobs = tryout_list(current_organisation(request))
    done = tryout_sides(jobs)
    lines = [
        {
            "job": job,
            "badge": job_badge(job),
            "sides": [
                {"name": side["name"], "done": done.get((job.pk, place))}
                for place, side in enumerate(job.spec["sides"])
            ],
        }
        for job in jobs
    ]
    context = {"form": form, "lines": lines, "may_write_here": form is not None}
    return render(request, "jobs/playground.html", context, status=status)
