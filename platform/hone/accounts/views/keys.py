"""API keys: which there are, a new one shown once, one revoked."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from hone.accounts.forms import KeyForm
from hone.accounts.requests import MemberRequest, current_organisation
from hone.accounts.selectors import access_key, key_list
from hone.accounts.services.keys import key_create, key_revoke
from hone.core.errors import UserError


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def keys_page(request: MemberRequest) -> HttpResponse:
    """The answer to the form is the only place that a new key is ever written to."""
    organisation = current_organisation(request)
    form, made, plain = KeyForm(request.POST or None), None, ""
    if form.is_valid():
        try:
            made, plain = key_create(
                acting_user=request.user, organisation=organisation, **form.cleaned_data
            )
            form = KeyForm()
        except UserError as error:
            form.refuse(error)
    context = {
        "form": form,
        "made": made,
        "plain": plain,
        "keys": list(key_list(request.user, organisation)),
        "site": request.build_absolute_uri("/").rstrip("/"),
    }
    return render(request, "accounts/keys.html", context)


@require_POST
def key_revoke_view(request: MemberRequest, key_id: str) -> HttpResponse:
    key = access_key(request.user, key_id)
    key_revoke(acting_user=request.user, key=key)
    messages.success(request, f"{key.name} is revoked: it opens nothing from now on.")
    return redirect("keys")
