"""Pages of judges: list, register, change, another key, and a question from the page."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from graders.judge_forms import AskForm, JudgeForm, KeyForm, typed_judge
from graders.models import Judge
from graders.selectors import access_judge, judge_list
from graders.services.judges import (
    TriedJudge,
    judge_archive,
    judge_change,
    judge_create,
    judge_key_rotate,
    judge_try,
)
from graders.services.outside import TRIAL_S
from hone.accounts.requests import MemberRequest, current_organisation
from hone.accounts.selectors import access_organisation
from hone.core.errors import UserError


@require_safe
def judges_page(request: MemberRequest) -> HttpResponse:
    organisation = current_organisation(request)
    context = {
        "judges": judge_list(organisation),
        "archived": judge_list(organisation, archived=True),
    }
    return render(request, "graders/judges.html", context)


@sensitive_post_parameters("key")
@require_http_methods(["GET", "HEAD", "POST"])
def judge_new(request: MemberRequest) -> HttpResponse:
    organisation = current_organisation(request)
    access_organisation(request.user, organisation.id, need="write")
    form = JudgeForm(request.POST or None)
    if form.is_valid():
        try:
            judge = judge_create(
                acting_user=request.user,
                organisation=organisation,
                name=form.cleaned_data["name"],
                fields=form.read_fields(),
                key=form.cleaned_data["key"],
            )
            messages.success(request, f"{judge.name} is registered. Ask it something.")
            return redirect("judge", judge.pk)
        except UserError as error:
            form.refuse(error)
    return render(request, "graders/judge_form.html", {"form": form})


@sensitive_post_parameters("key")
@require_http_methods(["GET", "HEAD", "POST"])
def judge_edit(request: MemberRequest, judge_id: str) -> HttpResponse:
    judge = access_judge(request.user, judge_id, need="write")
    form = JudgeForm(request.POST or None, named=True, initial=typed_judge(judge))
    if form.is_valid():
        try:
            judge_change(
                acting_user=request.user,
                judge=judge,
                fields=form.read_fields(),
                key=form.cleaned_data["key"],
            )
            messages.success(request, f"{judge.name} is changed.")
            return redirect("judge", judge.pk)
        except UserError as error:
            form.refuse(error)
    return render(request, "graders/judge_form.html", {"form": form, "judge": judge})


@require_safe
def judge_page(request: MemberRequest, judge_id: str) -> HttpResponse:
    judge = access_judge(request.user, judge_id)
    return _detail(request, judge, AskForm(judge=judge), KeyForm())


@require_POST
def judge_try_view(request: MemberRequest, judge_id: str) -> HttpResponse:
    judge = access_judge(request.user, judge_id, need="write")
    form, tried = AskForm(request.POST, judge=judge), None
    if form.is_valid():
        try:
            tried = judge_try(
                acting_user=request.user,
                judge=judge,
                model=form.cleaned_data["model"],
                question=form.cleaned_data["question"],
            )
        except UserError as error:
            form.refuse(error)
    return _detail(request, judge, form, KeyForm(), tried)


@sensitive_post_parameters("key")
@require_POST
def judge_key_view(request: MemberRequest, judge_id: str) -> HttpResponse:
    judge = access_judge(request.user, judge_id, need="write")
    form = KeyForm(request.POST)
    if form.is_valid():
        try:
            key = form.cleaned_data["key"]
            judge_key_rotate(acting_user=request.user, judge=judge, key=key)
            messages.success(request, f"{judge.name} has a new key; the old one is gone.")
            return redirect("judge", judge.pk)
        except UserError as error:
            form.refuse(error)
    return _detail(request, judge, AskForm(judge=judge), form)


@require_POST
def judge_archive_view(request: MemberRequest, judge_id: str) -> HttpResponse:
    judge = access_judge(request.user, judge_id, need="write")
    judge_archive(acting_user=request.user, judge=judge)
    messages.success(request, f"{judge.name} is archived. Jobs that use it keep it.")
    return redirect("judges")


def _detail(
    request: MemberRequest,
    judge: Judge,
    form: AskForm,
    key_form: KeyForm,
    tried: TriedJudge | None = None,
) -> HttpResponse:
    context = {
        "judge": judge,
        "form": form,
        "key_form": key_form,
        "tried": tried,
        "trial_s": min(judge.timeout_s, TRIAL_S),
    }
    return render(request, "graders/judge.html", context)
