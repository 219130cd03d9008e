"""Which organisation a signed-in person is looking at; it is kept in the session."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

from hone.accounts.models import Organisation, User
from hone.accounts.selectors import organisations_of

SESSION_KEY = "organisation"


class OrganisationMiddleware:
    """Sets `request.organisation` to the chosen organisation, else the first one, else None."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        request.organisation = _chosen(request)  # type: ignore[attr-defined]
        return self.get_response(request)


def _chosen(request: HttpRequest) -> Organisation | None:
    if not isinstance(request.user, User):
        return None
    mine = organisations_of(request.user)
    return mine.filter(pk=request.session.get(SESSION_KEY, "")).first() or mine.first()
