"""The request that signed-in views receive, typed."""

from __future__ import annotations

from django.http import Http404, HttpRequest

from hone.accounts.models import Organisation, User
from hone.core.htmx import HtmxRequest


class MemberRequest(HtmxRequest):
    """A request by a person who is signed in."""

    user: User
    organisation: Organisation


def current_organisation(request: HttpRequest) -> Organisation:
    """The organisation being looked at; Http404 for a person who belongs to none."""
    found: Organisation | None = getattr(request, "organisation", None)
    if found is None:
        raise Http404("You belong to no organisation. Ask an owner to add you.")
    return found
