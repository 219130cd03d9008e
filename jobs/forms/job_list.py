"""The jobs list's filters, read from the address."""

from __future__ import annotations

from django.http import QueryDict

from jobs.models import Status
from jobs.selectors.listing import Choices, JobFilters

LONGEST = 200


def job_filters(query: QueryDict) -> JobFilters:
    """What was asked; a state that there is not leaves out nothing."""
    given = {
        name: query.get(name, "").replace("\x00", "")[:LONGEST]
        for name in ("status", "owner", "base", "dataset")
    }
    if given["status"] not in Status.values:
        given["status"] = ""
    return JobFilters(**given, text=query.get("q", "").replace("\x00", "")[:LONGEST])


def filter_words(filters: JobFilters, choices: Choices) -> str:
    """The filter in words, as in `state failed and base base-4b`."""
    named = [
        ("state", str(Status(filters.status).label).lower() if filters.status else ""),
        ("owner", choices.owners.get(filters.owner, filters.owner)),
        ("base", filters.base),
        ("dataset", filters.dataset),
        ("words", f"“{filters.text.strip()}”" if filters.text.strip() else ""),
    ]
    return " and ".join(f"{name} {value}" for name, value in named if value)
