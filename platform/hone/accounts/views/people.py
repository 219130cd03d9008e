"""Pages of people: signing in and out, the organisation, its members, one's own settings."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth import login, logout, update_session_auth_hash
from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from hone.accounts import services
from hone.accounts.forms import (
    BrowserForm,
    MemberForm,
    NewPasswordForm,
    PasswordForm,
    SignInForm,
    ThemeForm,
)
from hone.accounts.models import Role
from hone.accounts.requests import (
    SESSION_KEY,
    MemberRequest,
    client_address,
    current_organisation,
    page_of_the_form,
)
from hone.accounts.selectors import (
    access_membership,
    access_organisation,
    is_last_owner,
    member_list,
)
from hone.core.errors import UserError

YEAR_S = 365 * 24 * 3600


@login_not_required
@never_cache
@sensitive_post_parameters("password")
@require_http_methods(["GET", "HEAD", "POST"])
def sign_in(request: MemberRequest) -> HttpResponse:
    if request.htmx:
        return render(request, "parts/signed_out.html")
    form = SignInForm(request.POST or None)
    if form.is_valid():
        try:
            address = client_address(request)
            login(request, services.sign_in_check(address=address, **form.cleaned_data))
            return redirect(_next(request))
        except UserError as error:
            form.refuse(error)
    return render(request, "accounts/sign_in.html", {"form": form, "next": _next(request)})


def _next(request: HttpRequest) -> str:
    asked = request.POST.get("next") or request.GET.get("next") or "/"
    known = url_has_allowed_host_and_scheme(
        asked, {request.get_host()}, require_https=request.is_secure()
    )
    return asked if known else "/"


@require_POST
def sign_out(request: MemberRequest) -> HttpResponse:
    logout(request)
    messages.success(request, "You are signed out.")
    return redirect("login")


@require_POST
def organisation_switch(request: MemberRequest) -> HttpResponse:
    organisation = access_organisation(request.user, request.POST.get("organisation", ""))
    request.session[SESSION_KEY] = organisation.id
    messages.success(request, f"You are now looking at {organisation.name}.")
    return redirect("/")


@require_safe
def members(request: MemberRequest) -> HttpResponse:
    return _members_page(request, MemberForm())


@sensitive_post_parameters("password")
@require_POST
def member_add(request: MemberRequest) -> HttpResponse:
    organisation = current_organisation(request)
    access_organisation(request.user, organisation.id, need="admin")
    form = MemberForm(request.POST)
    if form.is_valid():
        try:
            services.member_add(
                acting_user=request.user, organisation=organisation, **form.cleaned_data
            )
            messages.success(request, f"{form.cleaned_data['email']} is a member now.")
            return redirect("members")
        except UserError as error:
            form.refuse(error)
    return _members_page(request, form)


@require_POST
def member_set_role(request: MemberRequest, membership_id: int) -> HttpResponse:
    membership = access_membership(request.user, membership_id, need="admin")
    try:
        services.member_set_role(
            acting_user=request.user, membership=membership, role=request.POST.get("role", "")
        )
        messages.success(request, f"{membership.user.email} is {membership.role} now.")
    except UserError as error:
        messages.error(request, error.message)
    return redirect("members")


@never_cache
@sensitive_post_parameters("password")
@require_http_methods(["GET", "HEAD", "POST"])
def member_set_password(request: MemberRequest, membership_id: int) -> HttpResponse:
    membership = access_membership(request.user, membership_id, need="admin")
    form = NewPasswordForm(request.POST or None)
    if form.is_valid():
        try:
            services.member_set_password(
                acting_user=request.user, membership=membership, **form.cleaned_data
            )
            messages.success(request, f"{membership.user.email} has a new password. Tell it them.")
            return redirect("members")
        except UserError as error:
            form.refuse(error)
    return render(request, "accounts/member_password.html", {"form": form, "member": membership})


@require_POST
def member_remove(request: MemberRequest, membership_id: int) -> HttpResponse:
    membership = access_membership(request.user, membership_id, need="admin")
    try:
        services.member_remove(acting_user=request.user, membership=membership)
        messages.success(request, f"{membership.user.email} is no longer a member.")
    except UserError as error:
        messages.error(request, error.message)
    return redirect("members")


@require_POST
def member_leave(request: MemberRequest) -> HttpResponse:
    organisation = current_organisation(request)
    try:
        services.member_leave(acting_user=request.user, organisation=organisation)
        messages.success(request, f"You left {organisation.name}.")
        return redirect("settings")
    except UserError as error:
        messages.error(request, error.message)
    return redirect("settings")


def _members_page(request: MemberRequest, form: MemberForm) -> HttpResponse:
    rows = list(member_list(current_organisation(request)))
    owners = [row for row in rows if row.role == Role.OWNER]
    context = {
        "members": rows,
        "roles": Role.choices,
        "form": form,
        "can_own": any(owner.user_id == request.user.pk for owner in owners),
        "last_owner": owners[0].pk if len(owners) == 1 else None,
    }
    return render(request, "accounts/members.html", context)


@never_cache
@sensitive_post_parameters("current", "password")
@require_http_methods(["GET", "HEAD", "POST"])
def own_settings(request: MemberRequest) -> HttpResponse:
    form = PasswordForm(request.POST or None)
    if form.is_valid():
        try:
            services.password_change(acting_user=request.user, **form.cleaned_data)
            update_session_auth_hash(request, request.user)
            messages.success(request, "Your password is changed; other browsers are signed out.")
            return redirect("settings")
        except UserError as error:
            form.refuse(error)
    here = request.standing.current
    context = {
        "form": form,
        "browser": _browser(request),
        "is_last_owner": here is not None and is_last_owner(request.user, here.organisation),
    }
    return render(request, "accounts/settings.html", context)


def _browser(request: HttpRequest) -> BrowserForm:
    stored = request.COOKIES
    keys = stored.get("keys") != "off"
    return BrowserForm(initial={"theme": stored.get("theme", "auto"), "keys": keys})


@require_POST
def theme_set(request: MemberRequest) -> HttpResponse:
    """The theme from the bar; one comes back to the page where one was."""
    form = ThemeForm(request.POST)
    answer = redirect(page_of_the_form(request))
    if form.is_valid():
        _remember(answer, "theme", form.cleaned_data["theme"])
    return answer


def _remember(answer: HttpResponse, name: str, value: str) -> None:
    answer.set_cookie(name, value, YEAR_S, httponly=True, samesite="Lax")


@require_POST
def browser_settings(request: MemberRequest) -> HttpResponse:
    form = BrowserForm(request.POST)
    answer = redirect("settings")
    if form.is_valid():
        keys = "on" if form.cleaned_data["keys"] else "off"
        _remember(answer, "theme", form.cleaned_data["theme"])
        _remember(answer, "keys", keys)
        messages.success(request, "Kept for this browser.")
    else:
        messages.error(request, "Choose a theme from the list. Nothing was changed.")
    return answer
