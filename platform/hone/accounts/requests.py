"""The request that signed-in views receive, typed."""

from __future__ import annotations

from urllib.parse import urlsplit

from django.conf import settings
from django.http import Http404, HttpRequest
from django.utils.functional import cached_property
from django.utils.http import url_has_allowed_host_and_scheme

from hone.accounts.models import Membership, Organisation, User
from hone.accounts.selectors import memberships_of
from hone.core.htmx import HtmxRequest

SESSION_KEY = "organisation"


class Standing:
    """Where the person of a request belongs, and what is being looked at: one query, if any."""

    def __init__(self, request: HttpRequest) -> None:
        self._request = request

    @cached_property
    def memberships(self) -> list[Membership]:
        """By the organisations' names; empty for a stranger."""
        user = self._request.user
        if not isinstance(user, User):
            return []
        mine = memberships_of(user)
        # A key opens one organisation, whatever else its person belongs to.
        only = user.key.organisation_id if user.key is not None else None
        return list(mine if only is None else mine.filter(organisation=only))

    @property
    def was_asked(self) -> bool:
        return "memberships" in self.__dict__

    @cached_property
    def current(self) -> Membership | None:
        """In the chosen organisation, else in the first one."""
        if not self.memberships:
            return None
        chosen = self._request.session.get(SESSION_KEY, "")
        found = (each for each in self.memberships if each.organisation_id == chosen)
        return next(found, self.memberships[0])


class MemberRequest(HtmxRequest):
    """A request by a person who is signed in."""

    user: User
    standing: Standing


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
    standing: Standing | None = getattr(request, "standing", None)
    if standing is None or standing.current is None:
        raise Http404("You belong to no organisation. Ask an owner to add you.")
    return standing.current.organisation


def page_of_the_form(request: HttpRequest) -> str:
    """Where the form stood, by the browser's word; the start where that is not of this site."""
    page = request.headers.get("Referer", "")
    known = url_has_allowed_host_and_scheme(
        page, {request.get_host()}, require_https=request.is_secure()
    )
    parts = urlsplit(page if known else "/")
    return parts._replace(scheme="", netloc="", fragment="").geturl() or "/"
