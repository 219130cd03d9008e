"""Who is asked to sign in, and which organisation a signed-in person is looking at."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from django.contrib.auth.middleware import LoginRequiredMiddleware
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.http import url_has_allowed_host_and_scheme

from hone.accounts.models import Organisation, User
from hone.accounts.selectors import organisations_of

SESSION_KEY = "organisation"


class SignInMiddleware(LoginRequiredMiddleware):
    """Whoever sent a form signed out comes back to the page where it stood, and sends it again."""

    def handle_no_permission(
        self, request: HttpRequest, view_func: Callable[..., Any]
    ) -> HttpResponseRedirect:
        if request.method in {"GET", "HEAD"}:
            return super().handle_no_permission(request, view_func)
        return redirect_to_login(_page_of_the_form(request))


class OrganisationMiddleware:
    """Sets `request.organisation` to the chosen organisation, else the first one, else None."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        request.organisation = _chosen(request)  # type: ignore[attr-defined]
        return self.get_response(request)


def _page_of_the_form(request: HttpRequest) -> str:
    """Where the form stood, by the browser's word; the start where that is not of this site."""
    page = request.headers.get("Referer", "")
    known = url_has_allowed_host_and_scheme(
        page, {request.get_host()}, require_https=request.is_secure()
    )
    parts = urlsplit(page if known else "/")
    return parts._replace(scheme="", netloc="", fragment="").geturl() or "/"


def _chosen(request: HttpRequest) -> Organisation | None:
    if not isinstance(request.user, User):
        return None
    mine = organisations_of(request.user)
    return mine.filter(pk=request.session.get(SESSION_KEY, "")).first() or mine.first()
