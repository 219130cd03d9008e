"""The addresses of Hone, and beside them one that fails in each way there is."""

from __future__ import annotations

import errno

from django.core.exceptions import SuspiciousOperation
from django.http import HttpRequest, HttpResponse
from django.middleware.csrf import REASON_BAD_ORIGIN
from django.shortcuts import render
from django.urls import path
from django.views.csrf import csrf_failure

from hone.urls import urlpatterns as hone_urls


def fail(request: HttpRequest, code: int) -> HttpResponse:
    if code == 400:
        raise SuspiciousOperation("Not this way.")
    if code == 405:
        return render(request, "405.html", {"method": "PUT", "allowed": "GET"})
    if code == 413:
        context = {"announced": 5_000_000, "most": 4_194_304, "file": False}
        return render(request, "413.html", context, status=413)
    if code == 507:
        raise OSError(errno.ENOSPC, "No space left on device")
    raise RuntimeError("A mistake of ours.")


def refuse(request: HttpRequest) -> HttpResponse:
    return csrf_failure(request, REASON_BAD_ORIGIN)


urlpatterns = [
    *hone_urls,
    path("errors/<int:code>/", fail, name="error"),
    path("errors/csrf/", refuse, name="error-csrf"),
]
