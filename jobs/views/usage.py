"""Usage: hours and judges by month, job and person; storage; each sum opens to its rows."""

from __future__ import annotations

from dataclasses import dataclass

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_GET

from hone.accounts.requests import MemberRequest, current_organisation
from hone.core.htmx import target, vary
from jobs.forms.filters import address
from jobs.selectors import access_job
from jobs.selectors.usage import (
    PAGE,
    Line,
    Sums,
    Taken,
    by_job,
    by_month,
    by_person,
    runs_of,
    steps_of,
    storage_kept,
    total,
    usage_taken,
)

BAR = 240
WARN_AT = 0.8
HOUR_S = 3600.0


@dataclass(frozen=True)
class Quota:
    """Hours of this month against what the operator allows for; nothing is stopped by it."""

    hours: float
    of: float

    @property
    def share(self) -> float:
        return self.hours / self.of

    @property
    def warns(self) -> bool:
        return self.share >= WARN_AT

    @property
    def width(self) -> int:
        return round(BAR * min(1.0, self.share))


@dataclass(frozen=True)
class Row:
    """A sum, the length of its bar, and the address that opens it."""

    line: Line
    width: int
    address: str


@require_GET
def usage_page(request: MemberRequest) -> HttpResponse:
    """The last twelve months, narrowed by `month` and `person`."""
    taken = usage_taken(current_organisation(request))
    month, person = request.GET.get("month", ""), request.GET.get("person", "")
    kept = [each for each in taken if month in {"", each.month} and person in {"", each.person_id}]
    jobs = by_job(kept)
    context = {
        "sums": total(kept),
        "price": _price(total(kept)),
        "quota": _quota(taken),
        "months": _rows(by_month(kept), request, "month"),
        "people": _rows(by_person(kept), request, "person"),
        "jobs": _rows(jobs[:PAGE]),
        "left_out": max(0, len(jobs) - PAGE),
        "month": month,
        "person": next((each.person for each in taken if each.person_id == person), person),
        "currency": settings.CURRENCY,
        "bar": BAR,
    }
    return render(request, "jobs/usage.html", context)


@require_GET
def usage_job_page(request: MemberRequest, job_id: str) -> HttpResponse:
    """What a job's runs took, and with `run` the steps of one of them."""
    job = access_job(request.user, job_id)
    chosen, given = request.GET.get("run", ""), request.GET.get("after", "")
    lines = runs_of(job)
    found = next((line for line in lines if line.key == chosen), None)
    if chosen and found is None:
        raise Http404("There is nothing here that you can see.")
    after = int(given) if given.isdecimal() and len(given) < 10 else -1
    steps = steps_of(chosen, after=after) if found else []
    more = len(steps) > PAGE
    context = {
        "job": job,
        "rows": _rows(lines),
        "sums": sum((line.sums for line in lines), Sums()),
        "run": found,
        "steps": steps[:PAGE],
        "older": f"{address(request.GET)}&after={steps[PAGE - 1].step}" if more else "",
        "first": f"?run={chosen}" if after >= 0 else "",
        "currency": settings.CURRENCY,
        "bar": BAR,
    }
    return render(request, "jobs/usage_job.html", context)


@require_GET
def usage_storage(request: MemberRequest) -> HttpResponse:
    """Bytes kept, added up apart from the page, since a first time may take seconds."""
    context = {"kept": storage_kept(current_organisation(request))}
    fragment = target(request) == "storage"
    page = "jobs/usage_storage.html" if fragment else "jobs/usage_storage_page.html"
    return vary(render(request, page, context))


def _rows(lines: list[Line], request: HttpRequest | None = None, key: str = "") -> list[Row]:
    """Bars share one scale; with a key the address narrows this page, else a job's is meant."""
    most = max((line.sums.seconds for line in lines), default=0.0)
    return [
        Row(
            line,
            round(BAR * line.sums.seconds / most) if most else 0,
            address(request.GET, **{key: line.key}) if request else "",
        )
        for line in lines
    ]


def _price(sums: Sums) -> float | None:
    price: float | None = settings.HOUR_PRICE
    return None if price is None else price * sums.seconds / HOUR_S


def _quota(taken: list[Taken]) -> Quota | None:
    """Of the month that runs, whatever is filtered."""
    most: float | None = settings.QUOTA_HOURS
    now = f"{timezone.now():%Y-%m}"
    seconds = sum(each.sums.seconds for each in taken if each.month == now)
    return Quota(seconds / HOUR_S, most) if most else None
