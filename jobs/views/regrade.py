"""A stored trajectory, graded by another grader: shown beside the stored result, never saved."""

from __future__ import annotations

from typing import Any

from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_http_methods

from graders.selectors import access_grader_version, latest_versions
from graders.services import grader_try, version_opened
from hone.accounts.requests import MemberRequest
from hone.core.errors import UserError
from jobs.engine.rollout.grading import make_sample
from jobs.engine.types import LIMIT_STOPS
from jobs.forms.regrade import RegradeForm
from jobs.models import Job, Trajectory
from jobs.selectors import access_job, access_trajectory, trajectory_body
from jobs.selectors.tasks import formula, task, task_item
from jobs.views.headings import heading


@require_http_methods(["GET", "HEAD", "POST"])
def regrade_page(request: MemberRequest, job_id: str, trajectory_id: int) -> HttpResponse:
    """GET asks which grader; POST runs it once on this trajectory."""
    job = access_job(request.user, job_id, need="write")
    trajectory = access_trajectory(request.user, job_id, trajectory_id)
    form = RegradeForm(request.POST or None, versions=latest_versions(job.organisation))
    context = {
        **heading(request, job, "trajectories"),
        "trajectory": trajectory,
        "task": task(job, trajectory),
        "formula": formula(job.grader_version),
        "form": form,
        "capped": trajectory.stop in LIMIT_STOPS,
    }
    if request.method == "POST" and form.is_valid():
        context |= _graded(request, job, trajectory, form.cleaned_data["version"])
    return render(request, "jobs/grade.html", context)


def _graded(
    request: MemberRequest, job: Job, trajectory: Trajectory, version_id: str
) -> dict[str, Any]:
    version = access_grader_version(request.user, version_id)
    try:
        item = task_item(job, trajectory)
        sample = make_sample(trajectory_body(trajectory), job.spec.get("response_format"))
        grading = grader_try(
            spec=version_opened(version),
            sample=sample,
            item=item,
            organisation=job.organisation,
        )
    except UserError as error:
        return {"refusal": error.message, "version": version}
    change = None
    if grading.reward is not None and trajectory.reward is not None:
        change = grading.reward - trajectory.reward
    return {
        "grading": grading,
        "version": version,
        "change": change,
        "new_formula": formula(version),
    }
