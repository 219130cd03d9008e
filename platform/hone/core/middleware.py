"""A form arrives: how much of it is read, and from whom; a disk that fills up meanwhile; the
address of a form, opened as a page; and how pages are sent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest, HttpResponse, HttpResponseBase, UnreadablePostError
from django.middleware.gzip import GZipMiddleware
from django.shortcuts import redirect, render
from django.urls import is_valid_path

from hone.core.disk import is_disk_full

DATA_POLICY = "default-src 'none'; sandbox; base-uri 'none'; frame-ancestors 'none'"
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
    """An address that takes only a form leads, when it is opened or reloaded, to the page above.

    Any other method that an address does not take is refused on a page of its own.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        answer = self.get_response(request)
        if answer.status_code == METHOD_NOT_ALLOWED and request.method in {"GET", "HEAD"}:
            return redirect(_page_above(request.path))
        if answer.status_code == METHOD_NOT_ALLOWED and not answer.content:
            allowed = answer.get("Allow", "")
            context = {"method": request.method, "allowed": allowed}
            page = render(request, "405.html", context, status=METHOD_NOT_ALLOWED)
            page["Allow"] = allowed
            return page
        return answer


class DataPolicyMiddleware:
    """What is no page (JSON, CSV, a file, a picture) may do nothing at all where it is opened."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        answer = self.get_response(request)
        if not answer.get("Content-Type", "").startswith("text/html"):
            answer.headers.setdefault("Content-Security-Policy", DATA_POLICY)
        return answer


class PackedPagesMiddleware(GZipMiddleware):
    """Pages, fragments and JSON are sent packed. Downloads are not: they are streamed, large, and
    often packed already.

    A packed page must not give away a secret by its length, to someone who makes a browser open it
    with guesses in its address. The token of a form is masked anew in each page, a packed page has
    up to 100 random bytes, and no other site can have a page fetched with the session's cookie
    unseen (`SameSite`).
    """

    def process_response(
        self, request: HttpRequest, response: HttpResponseBase
    ) -> HttpResponseBase:
        return response if response.streaming else super().process_response(request, response)


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
    if _address(request) in settings.UPLOAD_PART_ADDRESSES:
        return int(settings.LARGEST_UPLOAD_PART) + AROUND_A_FILE
    return int(settings.DATA_UPLOAD_MAX_MEMORY_SIZE)


def _takes_a_file(request: HttpRequest) -> bool:
    return _address(request) in settings.UPLOAD_ADDRESSES


def _address(request: HttpRequest) -> str:
    match = request.resolver_match
    return (match.url_name or "") if match is not None else ""


def _announced(request: HttpRequest) -> int:
    text = request.META.get("CONTENT_LENGTH") or ""
    return int(text) if text.isascii() and text.isdigit() else 0


def _too_large(request: HttpRequest, announced: int, most: int) -> HttpResponse:
    context = {"announced": announced, "most": most, "file": _takes_a_file(request)}
    return render(request, "413.html", context, status=CONTENT_TOO_LARGE)


def _disk_full(request: HttpRequest) -> HttpResponse:
    return render(request, "507.html", status=INSUFFICIENT_STORAGE)
