"""Which part of a page a request asks for: a page and its fragments share one view."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.utils.cache import patch_vary_headers
from django_htmx.middleware import HtmxDetails


class HtmxRequest(HttpRequest):
    """A request that passed the htmx middleware."""

    htmx: HtmxDetails


def target(request: HttpRequest) -> str:
    """The id of the element that htmx will fill, or an empty string for a whole page."""
    details: HtmxDetails = request.htmx  # type: ignore[attr-defined]
    return (details.target or "") if details else ""


def vary(response: HttpResponse) -> HttpResponse:
    """Mark a response that differs for fragments, so that caches keep them apart."""
    patch_vary_headers(response, ["HX-Request", "HX-Target"])
    return response
