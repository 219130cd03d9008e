"""Programs that come with an API key: which addresses they open, and answers that they can read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse

from hone.accounts.errors import BadKey
from hone.accounts.services.keys import key_open
from hone.core.errors import UserError

_View = TypeVar("_View", bound=Callable[..., Any])
BEARER = "bearer "
SAFE = frozenset({"GET", "HEAD"})
WHERE = "The user guide lists the addresses that keys open, under API keys."


def opens_to_keys(view: _View) -> _View:
    """Mark a view that answers a GET with data: programs may ask it with a key that reads."""
    view.opens_to_keys = True  # type: ignore[attr-defined]
    return view


def came_with_key(request: HttpRequest) -> bool:
    """Whether a program asks, which wants its refusals as JSON and no page to go to."""
    return getattr(request.user, "key", None) is not None


class KeyMiddleware:
    """Stands before the sign-in check: whoever brings a key is its person, with its scopes."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_view(
        self, request: HttpRequest, view: Callable[..., Any], words: Any, options: Any
    ) -> HttpResponse | None:
        given = request.META.get("HTTP_AUTHORIZATION", "")
        if not given.lower().startswith(BEARER) or not getattr(view, "login_required", True):
            return None
        # What is not there any more cannot be logged.
        del request.META["HTTP_AUTHORIZATION"]
        try:
            key = key_open(given[len(BEARER) :].strip())
        except BadKey as error:
            answer = _refusal(401, error.code, error.message)
            answer["WWW-Authenticate"] = 'Bearer realm="hone"'
            return answer
        if not getattr(view, "opens_to_keys", False):
            return _refusal(403, "address_closed", f"Keys do not open this address. {WHERE}")
        if request.method not in SAFE:
            return _refusal(405, "key_reads", "This key reads: use GET.")
        request.user = key.user
        return None

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        if not came_with_key(request):
            return None
        if isinstance(error, Http404):
            return _refusal(404, "not_found", "There is nothing here that this key can see.")
        if isinstance(error, PermissionDenied):
            return _refusal(403, "not_allowed", str(error))
        if isinstance(error, UserError):
            return _refusal(409, error.code, error.message)
        return None


def _refusal(status: int, code: str, message: str) -> HttpResponse:
    kind = "authentication_error" if status == 401 else "invalid_request_error"
    body = {"error": {"message": message, "type": kind, "param": None, "code": code}}
    return JsonResponse(body, status=status)
