"""A disk that fills up while a form arrives is a page that says so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.http import HttpRequest, HttpResponse, UnreadablePostError
from django.shortcuts import render

from hone.core.disk import is_disk_full

INSUFFICIENT_STORAGE = 507


class DiskFullMiddleware:
    """Stands before the CSRF check, which is the first to read a form and its files."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_view(
        self, request: HttpRequest, view: Callable[..., Any], words: Any, options: Any
    ) -> HttpResponse | None:
        """Read the form here: what is raised beside a view never reaches `process_exception`."""
        if request.method != "POST":
            return None
        try:
            request.POST  # noqa: B018
        except UnreadablePostError:
            # The sender is gone; the CSRF check refuses what is left.
            return None
        except OSError as error:
            if not is_disk_full(error):
                raise
            return _page(request)
        return None

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        return _page(request) if is_disk_full(error) else None


def _page(request: HttpRequest) -> HttpResponse:
    return render(request, "507.html", status=INSUFFICIENT_STORAGE)
