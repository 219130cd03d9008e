"""Pause, resume and cancel: GET asks, for browsers without dialogs, and POST does it; and what a
person says of an alarm."""

from __future__ import annotations

from collections.abc import Callable

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST

from hone.accounts.requests import MemberRequest
from hone.core.errors import UserError
from jobs.models import Job
from jobs.selectors import access_job
from jobs.services.alarms import alarm_see
from jobs.services.control import job_cancel, job_pause, job_resume
from jobs.views.chart_address import whole_number
from jobs.views.headings import heading
from jobs.views.messages import tell


@require_http_methods(["GET", "HEAD", "POST"])
def pause(request: MemberRequest, job_id: str) -> HttpResponse:
    """Pause now: the step in hand is dropped, and made again on resuming."""
    if request.method != "POST":
        return _ask(request, job_id, "Pause")
    done = "The {} pauses. The step in hand is dropped, and made again when you resume."
    return _do(request, job_id, job_pause, done)


@require_http_methods(["GET", "HEAD", "POST"])
def resume(request: MemberRequest, job_id: str) -> HttpResponse:
    """Queue the job again."""
    if request.method != "POST":
        return _ask(request, job_id, "Resume")
    return _do(request, job_id, job_resume, "The {} goes on from its last finished step.")


@require_http_methods(["GET", "HEAD", "POST"])
def cancel(request: MemberRequest, job_id: str) -> HttpResponse:
    """End the job for good."""
    if request.method != "POST":
        return _ask(request, job_id, "Cancel")
    return _do(request, job_id, job_cancel, "The {} is being cancelled.")


@require_POST
def alarm_seen(request: MemberRequest, job_id: str, rule: str) -> HttpResponse:
    """Quiet an alarm for oneself, up to the step that was shown."""
    job = access_job(request.user, job_id, need="write")
    step = whole_number(request.POST.get("step", ""))
    try:
        alarm_see(acting_user=request.user, job=job, rule=rule, step=-1 if step is None else step)
    except UserError as error:
        tell(request, error)
    return redirect(f"{reverse('job', args=[job.pk])}#attention")


def _ask(request: MemberRequest, job_id: str, verb: str) -> HttpResponse:
    """The question as a page of its own, for browsers without dialogs."""
    job = access_job(request.user, job_id, need="write")
    shared = heading(request, job, "overview")
    name = verb.lower()
    asked = {"verb": verb, "may": shared[f"may_{name}"], "form": f"jobs/{name}_form.html"}
    return render(request, "jobs/ask.html", {**shared, **asked})


def _do(
    request: MemberRequest, job_id: str, service: Callable[..., Job], done: str
) -> HttpResponse:
    job = access_job(request.user, job_id, need="write")
    try:
        service(acting_user=request.user, job=job)
        messages.success(request, done.format(job.noun))
    except UserError as error:
        tell(request, error)
    return redirect("job", job.pk)
