"""Keeping the tool traffic of a job as a recording."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST

from hone.accounts.requests import MemberRequest
from hone.core.errors import UserError
from jobs.selectors import access_job
from jobs.services.recordings import recording_from_job
from jobs.views.messages import tell


@require_POST
def record(request: MemberRequest, job_id: str) -> HttpResponse:
    """Record under the name that was typed, and show the recording."""
    job = access_job(request.user, job_id, need="write")
    try:
        made = recording_from_job(
            acting_user=request.user, job=job, name=request.POST.get("record_as", "")
        )
    except UserError as error:
        tell(request, error)
        return redirect("job-trajectories", job.pk)
    messages.success(request, f"{made.entries} answers are in the recording {made.name}.")
    return redirect("recording", made.pk)
