"""A form arrives: how much of it is read, and from whom; a disk that fills up meanwhile; and the
address of a form, opened as a page."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest, HttpResponse, UnreadablePostError
from django.shortcuts import redirect, render
from django.urls import is_valid_path

from hone.core.disk import is_disk_full

METHOD_NOT_ALLOWED = 405
CONTENT_TOO_LARGE = 413
INSUFFICIENT_STORAGE = 507
STRANGER_BYTES = 64 * 1024
"""Enough for the sign-in form, and kept in memory."""
AROUND_A_FILE = 1024 * 1024
"""The other fields of an upload, and what separates them."""


class ArrivalMiddleware:
    """Stands behind the sign-in check and before the CSRF check, the first to read a form.

    Django reads as many bytes as were announced and no more, and none where no length is
    announced, so the announced length is the one to judge.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_view(
        self, request: HttpRequest, view: Callable[..., Any], words: Any, options: Any
    ) -> HttpResponse | None:
        """Read the form here: what is raised beside a view never reaches `process_exception`."""
        most, announced = _most_bytes(request), _announced(request)
        if announced > most:
            return _too_large(request, announced, most)
        if request.method != "POST":
            return None
        try:
            request.POST  # noqa: B018
        except UnreadablePostError:
            # The sender is gone; the CSRF check refuses what is left.
            return None
        except RequestDataTooBig:
            return _too_large(request, announced, settings.DATA_UPLOAD_MAX_MEMORY_SIZE)
        except OSError as error:
            if not is_disk_full(error):
                raise
            return _disk_full(request)
        return None

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        return _disk_full(request) if is_disk_full(error) else None


class FormAddressMiddleware:
    """An address that takes only a form leads, when it is opened or reloaded, to the page above."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        answer = self.get_response(request)
        if answer.status_code == METHOD_NOT_ALLOWED and request.method in {"GET", "HEAD"}:
            return redirect(_page_above(request.path))
        return answer


def _page_above(path: str) -> str:
    """The nearest address above `path` that exists; the site's start is above all."""
    while path != "/":
        path = path.rstrip("/").rpartition("/")[0] + "/"
        if is_valid_path(path):
            break
    return path


def _most_bytes(request: HttpRequest) -> int:
    if not request.user.is_authenticated:
        return STRANGER_BYTES
    if _takes_a_file(request):
        return int(settings.MAX_DATASET_BYTES) + AROUND_A_FILE
    return int(settings.DATA_UPLOAD_MAX_MEMORY_SIZE)


def _takes_a_file(request: HttpRequest) -> bool:
    match = request.resolver_match
    return match is not None and match.url_name in settings.UPLOAD_ADDRESSES


def _announced(request: HttpRequest) -> int:
    text = request.META.get("CONTENT_LENGTH") or ""
    return int(text) if text.isascii() and text.isdigit() else 0


def _too_large(request: HttpRequest, announced: int, most: int) -> HttpResponse:
    context = {"announced": announced, "most": most, "file": _takes_a_file(request)}
    return render(request, "413.html", context, status=CONTENT_TOO_LARGE)


def _disk_full(request: HttpRequest) -> HttpResponse:
    return render(request, "507.html", status=INSUFFICIENT_STORAGE)
