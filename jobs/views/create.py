"""One page to make a job: choices, live checks of everything together, and Start."""

from __future__ import annotations

from typing import Any

from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST

from hone.accounts.models import Organisation
from hone.accounts.requests import MemberRequest, current_organisation
from hone.accounts.selectors import access_organisation
from jobs.errors import JobRefused
from jobs.forms.new_job import NewJobForm
from jobs.forms.prefill import Clone, clone_job, fork_job, mended_job, rebase_job
from jobs.forms.preflight import PreflightForm
from jobs.models import Checkpoint, Job
from jobs.selectors import access_checkpoint
from jobs.selectors.access import access_source, checkpoint_of
from jobs.selectors.choices import JobChoices, job_choices
from jobs.services.checks import job_checks
from jobs.services.create import job_create
from jobs.services.preflights import preflight_create
from jobs.services.request import Check, Checked

STATES = ("ok", "warning", "problem")
TICK = Check(
    "Warnings", "warning", "There are warnings. Mend them, or tick “Start anyway”.", "accept"
)


@require_http_methods(["GET", "HEAD", "POST"])
def new_job_page(request: MemberRequest) -> HttpResponse:
    """GET shows the form; POST checks it, and starts the job where `start` was pressed."""
    organisation = _writable(request)
    if request.method != "POST":
        return _first(request, organisation)
    form = NewJobForm(request.POST, choices=job_choices(organisation))
    if not form.is_valid():
        return _show(request, organisation, form, status=422)
    checked = job_checks(organisation, form.as_request())
    if "preflight" in request.POST:
        return _try(request, organisation, form, checked)
    if "start" not in request.POST:
        return _show(request, organisation, form, checked=checked)
    unaccepted = _count(checked, "warning") and not request.POST.get("accept")
    if checked.may_start and not unaccepted:
        return _start(request, organisation, form, checked)
    problems = checked.problems or [TICK]
    return _show(request, organisation, form, checked=checked, problems=problems, status=422)


@require_POST
def check_panel(request: MemberRequest) -> HttpResponse:
    """The checks and what every "auto" becomes, for the form as it stands."""
    organisation = _writable(request)
    form = NewJobForm(request.POST, choices=job_choices(organisation))
    checked = job_checks(organisation, form.as_request())
    context = {**_checks(request, checked), "oob_settings": _with_values(checked)}
    return render(request, "jobs/checks.html", context)


def _start(
    request: MemberRequest, organisation: Organisation, form: NewJobForm, checked: Checked
) -> HttpResponse:
    try:
        job = job_create(
            acting_user=request.user, organisation=organisation, request=form.as_request()
        )
    except JobRefused as refused:
        problems = _problems(refused)
        return _show(request, organisation, form, checked=checked, problems=problems, status=422)
    return redirect("job", job.pk)


def _try(
    request: MemberRequest, organisation: Organisation, form: NewJobForm, checked: Checked
) -> HttpResponse:
    """Begin a preflight: warnings need no tick, since nothing is paid for."""
    sample = PreflightForm(request.POST)
    problems = checked.problems
    if not sample.is_valid():
        problems += [
            Check("", "problem", f"{sample[name].label}: {errors[0]}", name)
            for name, errors in sample.errors.items()
        ]
    if problems:
        return _show(request, organisation, form, checked=checked, problems=problems, status=422)
    try:
        job = preflight_create(
            acting_user=request.user,
            organisation=organisation,
            request=form.as_request(),
            tasks=sample.tasks,
            attempts=sample.attempts,
        )
    except JobRefused as refused:
        problems = _problems(refused)
        return _show(request, organisation, form, checked=checked, problems=problems, status=422)
    return redirect("preflight", job.pk)


def _problems(refused: JobRefused) -> list[Check]:
    return [Check("", "problem", text, field, code) for code, field, text in refused.problems]


def _writable(request: MemberRequest) -> Organisation:
    organisation = current_organisation(request)
    return access_organisation(request.user, organisation.pk, need="write")


def _first(request: MemberRequest, organisation: Organisation) -> HttpResponse:
    """The form as it opens: empty, or filled in from an old job, with what became of its parts."""
    choices = job_choices(organisation)
    clone = _clone(request, choices)
    initial = dict(clone.values) if clone else {}
    for key, field in (("dataset", "train_version"), ("base", "base_model")):
        if request.GET.get(key):
            initial[field] = request.GET[key]
    form = NewJobForm(initial=initial, choices=choices)
    return _show(request, organisation, form, clone=clone)


def _clone(request: MemberRequest, choices: JobChoices) -> Clone | None:
    given, step = request.GET.get("from"), request.GET.get("checkpoint", "")
    if given and step.isdecimal() and len(step) < 10:
        checkpoint = access_checkpoint(request.user, given, int(step), need="write")
        return fork_job(checkpoint, choices)
    source = _source(request)
    if source is None:
        return None
    if request.GET.get("mend"):
        return mended_job(source, choices)
    return (rebase_job if request.GET.get("rebase") else clone_job)(source, choices)


def _source(request: MemberRequest) -> Job | None:
    """The job that the form is filled in from; a try has not the parts of one."""
    given = request.GET.get("from")
    job = access_source(request.user, given) if given else None
    return None if job is not None and job.is_tryout else job


def _show(
    request: MemberRequest,
    organisation: Organisation,
    form: NewJobForm,
    *,
    checked: Checked | None = None,
    problems: list[Check] | None = None,
    clone: Clone | None = None,
    status: int = 200,
) -> HttpResponse:
    choices = form.offered
    options = _options(form, checked)
    context = {
        "form": form,
        "source": clone.source if clone else _source(request),
        "start": _beginning(organisation, form, clone),
        "rebased": bool(request.GET.get("rebase")),
        "has_models": bool(choices.base_models),
        "has_datasets": bool(choices.datasets),
        "has_graders": bool(choices.graders),
        "main_options": [each for each in options if each["main"]],
        "more_options": [each for each in options if not each["main"]],
        "problems": problems or [],
        "notices": clone.notices if clone else [],
        **_checks(request, checked),
    }
    return render(request, "jobs/new.html", context, status=status)


def _beginning(
    organisation: Organisation, form: NewJobForm, clone: Clone | None
) -> Checkpoint | None:
    """The checkpoint that the form, as it stands, begins with; a foreign one is none."""
    if clone is not None:
        is_ours = clone.source.organisation_id == organisation.pk
        return clone.start if is_ours else None
    given = str(form["start_checkpoint"].value() or "")
    return checkpoint_of(organisation, int(given)) if given.isdecimal() else None


def _options(form: NewJobForm, checked: Checked | None) -> list[dict[str, Any]]:
    """The hyperparameters with their fields; the contract's own names are the main ones."""
    settings = {each.name: each for each in checked.settings} if checked else {}
    return [
        {
            "name": option.name,
            "main": option.contract,
            "topic": option.topic,
            "range": option.range,
            "field": field,
            "setting": settings.get(option.name),
        }
        for option, field in form.options()
    ]


def _checks(request: MemberRequest, checked: Checked | None) -> dict[str, Any]:
    shown = list(dict.fromkeys(checked.checks)) if checked else []
    return {
        "checked": checked,
        "shown": shown,
        "counts": {state: sum(check.state == state for check in shown) for state in STATES},
        "accepted": bool(request.POST.get("accept")),
        "sample": PreflightForm(request.POST or None),
    }


def _with_values(checked: Checked) -> list[dict[str, Any]]:
    return [{"name": each.name, "setting": each} for each in checked.settings]


def _count(checked: Checked, state: str) -> int:
    return sum(check.state == state for check in checked.checks)
