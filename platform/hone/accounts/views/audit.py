"""The audit log: filtered, 50 a page, and as CSV; for owners and admins."""

from __future__ import annotations

from itertools import chain
from typing import Any

from django.http import HttpResponse, StreamingHttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from hone.accounts import audit
from hone.accounts.forms import AuditForm
from hone.accounts.models import Organisation
from hone.accounts.requests import MemberRequest, current_organisation
from hone.accounts.selectors import access_organisation
from hone.core.spreadsheets import csv_lines


@require_safe
def audit_page(request: MemberRequest) -> HttpResponse:
    organisation, form = _asked(request)
    rows = audit.audit_rows(organisation, form.filters())
    given = request.GET.get("before", "")
    if given.isdecimal() and len(given) < 19:
        rows = rows.filter(pk__lt=int(given))
    found = list(rows[: audit.PAGE + 1])
    kept = request.GET.copy()
    kept.pop("before", None)
    context: dict[str, Any] = {
        "form": form,
        "lines": [audit.shown(entry) for entry in found[: audit.PAGE]],
        "query": kept.urlencode(),
        "older": found[audit.PAGE - 1].pk if len(found) > audit.PAGE else None,
        "is_filtered": any(kept.values()),
        "is_first": not given,
    }
    return render(request, "accounts/audit.html", context)


@require_safe
def audit_csv(request: MemberRequest) -> StreamingHttpResponse:
    """Every entry that the filters leave."""
    organisation, form = _asked(request)
    rows = audit.csv_rows(audit.audit_rows(organisation, form.filters()))
    lines = csv_lines(chain([audit.CSV_COLUMNS], rows))
    answer = StreamingHttpResponse(lines, content_type="text/csv; charset=utf-8")
    answer["Content-Disposition"] = 'attachment; filename="audit.csv"'
    return answer


def _asked(request: MemberRequest) -> tuple[Organisation, AuditForm]:
    organisation = current_organisation(request)
    access_organisation(request.user, organisation.id, need="admin")
    people, verbs = audit.audit_people(organisation), audit.audit_verbs(organisation)
    return organisation, AuditForm(request.GET, people=people, verbs=verbs)
