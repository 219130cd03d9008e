"""System: what works on this installation, for its operators."""

from __future__ import annotations

from django.core.exceptions import PermissionDenied
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET, require_POST

from hone.accounts.requests import MemberRequest
from hone.core.htmx import target, vary
from jobs.services.system_look import look_kept, look_start, looking_since

TONES = {"ok": ("✓", "ok"), "warning": ("!", "warn"), "problem": ("✗", "bad")}
REFUSED = (
    "Only operators of this installation see this page. Whoever has its command line makes you "
    "one with `python manage.py set_operator`."
)


@require_GET
def system_page(request: MemberRequest) -> HttpResponse:
    """The last findings with their time; no probe runs while this page is made."""
    _check(request)
    look = look_kept()
    found = look.findings if look else []
    context = {
        "look": look,
        "lines": [(*TONES[finding.state], finding) for finding in found],
        "problems": sum(finding.state == "problem" for finding in found),
        "warnings": sum(finding.state == "warning" for finding in found),
        "since": looking_since(),
    }
    template = "jobs/system_found.html" if target(request) == "found" else "jobs/system.html"
    return vary(render(request, template, context))


@require_POST
def system_look(request: MemberRequest) -> HttpResponse:
    """Begin to look; the page shows it when it is done."""
    _check(request)
    look_start()
    return redirect("system")


def _check(request: MemberRequest) -> None:
    if not request.user.is_operator:
        raise PermissionDenied(REFUSED)
