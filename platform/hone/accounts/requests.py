"""The request that signed-in views receive, typed."""

from __future__ import annotations

from django.conf import settings
from django.http import Http404, HttpRequest

from hone.accounts.models import Organisation, User
from hone.core.htmx import HtmxRequest


class MemberRequest(HtmxRequest):
    """A request by a person who is signed in."""

    user: User
    organisation: Organisation


def client_address(request: HttpRequest) -> str:
    """Where the request came from, as the nearest machine that is ours saw it.

    A proxy writes its client at the end of X-Forwarded-For; what stands before is the client's
    own word. Without a proxy the whole header is.
    """
    seen: str = request.META.get("REMOTE_ADDR", "")
    if not settings.BEHIND_TLS_PROXY:
        return seen
    return request.META.get("HTTP_X_FORWARDED_FOR", "").rpartition(",")[2].strip() or seen


def current_organisation(request: HttpRequest) -> Organisation:
    """The organisation being looked at; Http404 for a person who belongs to none."""
    found: Organisation | None = getattr(request, "organisation", None)
    if found is None:
        raise Http404("You belong to no organisation. Ask an owner to add you.")
    return found
