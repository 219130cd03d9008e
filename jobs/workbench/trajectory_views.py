"""What is done with one trajectory: marking it, and keeping it as a fixture of a grader."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.http import require_POST

from graders.selectors import access_grader, grader_list
from hone.accounts.requests import MemberRequest
from hone.core.errors import UserError
from hone.core.forms import PlainForm
from jobs.selectors import access_job, access_trajectory
from jobs.views.messages import tell
from jobs.workbench.forms import KeepForm, MarkForm
from jobs.workbench.selectors import access_forgery
from jobs.workbench.services import forgery_keep, mark_set, trajectory_keep


@require_POST
def mark(request: MemberRequest, job_id: str, trajectory_id: int) -> HttpResponse:
    """Keep one's mark; the answer is the page it was given on."""
    trajectory = access_trajectory(request.user, job_id, trajectory_id, need="write")
    form = MarkForm(request.POST)
    if form.is_valid():
        try:
            value = form.cleaned_data["value"]
            mark_set(acting_user=request.user, trajectory=trajectory, value=value)
        except UserError as error:
            tell(request, error)
    else:
        _refuse(request, form)
    return redirect(_origin(request, job_id, trajectory_id))


@require_POST
def keep(request: MemberRequest, job_id: str, trajectory_id: int) -> HttpResponse:
    """Keep it as a fixture; the answer is the grader's page of fixtures."""
    job = access_job(request.user, job_id, need="write")
    trajectory = access_trajectory(request.user, job_id, trajectory_id, need="write")
    form = KeepForm(request.POST, graders=grader_list(job.organisation))
    here = reverse("trajectory", args=[job_id, trajectory_id])
    if not form.is_valid():
        _refuse(request, form)
        return redirect(here)
    try:
        fixture = trajectory_keep(
            acting_user=request.user,
            trajectory=trajectory,
            grader=access_grader(request.user, form.cleaned_data["grader"], need="write"),
            wanted=form.wanted(),
            address=here,
        )
    except UserError as error:
        tell(request, error)
        return redirect(here)
    messages.success(request, f"{fixture.name} is kept as a fixture of {fixture.grader.name}.")
    return redirect(f"{reverse('fixtures', args=[fixture.grader_id])}#fixture-{fixture.pk}")


@require_POST
def keep_forgery(request: MemberRequest, comparison_id: str, score_id: int) -> HttpResponse:
    """Keep a changed answer that fooled side `a` or `b` as a fixture of that side's grader."""
    score = access_forgery(request.user, comparison_id, score_id, need="write")
    side = "a" if request.POST.get("side") == "a" else "b"
    version = getattr(score.comparison, f"version_{side}")
    here = reverse("comparison", args=[comparison_id])
    try:
        if version is None:
            raise UserError("A draft has no fixtures. Save it as a grader first.")
        fixture = forgery_keep(
            acting_user=request.user, score=score, version=version, address=f"{here}#fooled"
        )
    except UserError as error:
        tell(request, error)
        return redirect(here)
    messages.success(request, f"{fixture.name} is kept as a fixture of {fixture.grader.name}.")
    return redirect(f"{reverse('fixtures', args=[fixture.grader_id])}#fixture-{fixture.pk}")


def _refuse(request: MemberRequest, form: PlainForm) -> None:
    for field, errors in form.errors.items():
        messages.error(request, f"{form.fields[field].label or field}: {errors[0]}")


def _origin(request: MemberRequest, job_id: str, trajectory_id: int) -> str:
    """The comparison that the form stood on, else the trajectory's page."""
    comparison = request.POST.get("comparison", "")
    if comparison.startswith("cmp-") and comparison.removeprefix("cmp-").isalnum():
        query = "&".join(
            f"{name}={request.POST[name]}"
            for name in ("only", "from")
            if request.POST.get(name, "").isalnum()
        )
        place = reverse("comparison", args=[comparison])
        return f"{place}?{query}#row-{trajectory_id}"
    return reverse("trajectory", args=[job_id, trajectory_id])
