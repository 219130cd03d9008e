"""Pause, resume and cancel: a POST each; cancelling asks first."""

from __future__ import annotations

from collections.abc import Callable

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST

from hone.accounts.requests import MemberRequest
from hone.core.errors import UserError
from jobs.models import Job
from jobs.selectors import access_job
from jobs.services.control import job_cancel, job_pause, job_resume
from jobs.views.headings import heading
from jobs.views.messages import tell


@require_POST
def pause(request: MemberRequest, job_id: str) -> HttpResponse:
    """Pause now: the step in hand is dropped, and made again on resuming."""
    done = "The job pauses. The step in hand is dropped, and made again when you resume."
    return _do(request, job_id, job_pause, done)


@require_POST
def resume(request: MemberRequest, job_id: str) -> HttpResponse:
    """Queue the job again."""
    return _do(request, job_id, job_resume, "The job goes on from its last checkpoint.")


@require_http_methods(["GET", "HEAD", "POST"])
def cancel(request: MemberRequest, job_id: str) -> HttpResponse:
    """GET asks, for browsers without dialogs; POST cancels."""
    if request.method == "POST":
        return _do(request, job_id, job_cancel, "The job is being cancelled.")
    job = access_job(request.user, job_id, need="write")
    return render(request, "jobs/cancel.html", heading(request, job, "overview"))


def _do(
    request: MemberRequest, job_id: str, service: Callable[..., Job], done: str
) -> HttpResponse:
    job = access_job(request.user, job_id, need="write")
    try:
        service(acting_user=request.user, job=job)
        messages.success(request, done)
    except UserError as error:
        tell(request, error)
    return redirect("job", job.pk)
