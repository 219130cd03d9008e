"""An id for each request, in its answer, its error page and its lines of the log."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextvars import ContextVar

from django.http import HttpRequest, HttpResponse, HttpResponseServerError
from django.template.loader import get_template

from hone.core.ids import new_id

HEADER = "X-Request-Id"
_now: ContextVar[str] = ContextVar("request_id", default="-")


class RequestIdMiddleware:
    """Stands first, so that every answer carries the id. A client's own id is not taken over."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        request.id = new_id("req")  # type: ignore[attr-defined]
        token = _now.set(request.id)  # type: ignore[attr-defined]
        try:
            answer = self.get_response(request)
        finally:
            _now.reset(token)
        answer[HEADER] = request.id  # type: ignore[attr-defined]
        return answer


class RequestIdFilter(logging.Filter):
    """Gives each line of the log the id of the request that it was written in, or `-`."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id = _now.get()
        return True


def server_error(request: HttpRequest) -> HttpResponse:
    """The page of a fault: it asks no database, which may be what is broken."""
    context = {"request_id": getattr(request, "id", "")}
    return HttpResponseServerError(get_template("500.html").render(context))
