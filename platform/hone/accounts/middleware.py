"""Who is asked to sign in, and which organisation a signed-in person is looking at."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

from django.contrib.auth.middleware import LoginRequiredMiddleware
from django.contrib.auth.views import redirect_to_login
from django.db import OperationalError
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils import timezone

from hone.accounts.models import Membership, User
from hone.accounts.requests import Standing, page_of_the_form
from hone.accounts.services import member_seen

SEEN_IS_NOTED_EVERY = timedelta(minutes=10)
"""Rarely, since a page that is only read should not wait for the database's writers."""


class SignInMiddleware(LoginRequiredMiddleware):
    """Whoever sent a form signed out comes back to the page where it stood, and sends it again."""

    def handle_no_permission(
        self, request: HttpRequest, view_func: Callable[..., Any]
    ) -> HttpResponseRedirect:
        if request.method in {"GET", "HEAD"}:
            return super().handle_no_permission(request, view_func)
        return redirect_to_login(page_of_the_form(request))


class OrganisationMiddleware:
    """Sets `request.standing`; the database is asked only where somebody wants to know, and once:
    the access doors read the same memberships.

    Whoever it was asked for was here, which is noted afterwards.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        request.standing = standing = Standing(request)  # type: ignore[attr-defined]
        response = self.get_response(request)
        seen = standing.current if standing.was_asked else None
        person = request.user
        if seen is not None and isinstance(person, User) and _unseen_for_long(person, seen):
            # A full disk or a busy database is no reason to refuse a page that is only read.
            with suppress(OperationalError):
                member_seen(acting_user=person, organisation=seen.organisation)
        return response

    def process_view(
        self, request: HttpRequest, view: Callable[..., Any], words: Any, options: Any
    ) -> None:
        # Where nobody has to sign in, nobody's session is read either.
        if getattr(view, "login_required", True) and isinstance(request.user, User):
            standing: Standing = request.standing  # type: ignore[attr-defined]
            request.user.memberships_read = lambda: standing.memberships


def _unseen_for_long(person: User, membership: Membership) -> bool:
    """A sign-in is a sign of life, too, and is written down anyway. What a program does with a key
    is none."""
    if person.key is not None:
        return False
    times = [person.last_login, membership.last_seen_at]
    return all(at is None or timezone.now() - at > SEEN_IS_NOTED_EVERY for at in times)
