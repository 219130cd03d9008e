"""The columns of a live job's charts and its sums: what a new step adds joins what stood before it.

A point is made of its own steps alone, so of a hundred thousand steps a new one changes the last
point or adds one. All others stay as they were read, and so does what earlier steps took.
"""

from __future__ import annotations

from typing import Any

from jobs.models import Job, Run, Usage
from jobs.selectors.leads import Lead
from jobs.selectors.series import (
    FAMILIES,
    columns_of,
    families_of,
    job_series,
    points_in,
    view_of,
)
from jobs.selectors.shared import growing
from jobs.selectors.usage import Sums, sums_of

Columns = dict[str, Any]


def lead_series(lead: Lead, first: int | None, last: int | None) -> Columns:
    """As `job_series`, made once for all viewers; nobody may change it."""

    def made(before: Columns | None, _: int) -> Columns:
        columns = grown(before, lead.job, first, last) if before else None
        return columns or job_series(lead.job, first=first, last=last)

    return growing(lead.state, ("series", first, last), made)


def lead_sums(lead: Lead) -> Sums:
    """As `job_sums`, made once for all viewers."""

    def made(before: tuple[int, Sums] | None, step: int) -> tuple[int, Sums]:
        seen, sums = before if before and before[0] <= step else (-1, Sums())
        return step, sums + sums_of(lead.run.usage.filter(step__gt=seen, step__lte=step))

    _, sums = growing(lead.state, ("sums",), made)
    # Turns are measured on demand, and step by step, by runs that are not the job's own.
    if not lead.has_others:
        return sums
    others = Run.objects.filter(job=lead.job).exclude(pk=lead.run.pk)
    return sums + sums_of(Usage.objects.filter(run__in=others))


def grown(before: Columns, job: Job, first: int | None, last: int | None) -> Columns | None:
    """What `job_series` gives now, from what it gave before; None where it must be made anew:
    points became larger, or a name appears for the first time."""
    _, high, size = view_of(job, first, last)
    if not before["step"] or size != before["size"] or before["step"][-1] > high:
        return None
    begins = before["step"][-1] // size * size
    _, newest = points_in({job.pk: (begins, high, size)})[job.pk]
    known = {column: list(before[column]) for column in FAMILIES}
    if any(not set(names) <= set(known[column]) for column, names in families_of(newest).items()):
        return None
    joined: Columns = _joined(before, columns_of(size, newest, known), len(before["step"]) - 1)
    return joined


def _joined(old: Any, new: Any, keep: int) -> Any:
    """The first `keep` values of each old list, and then the new ones."""
    if isinstance(new, dict):
        return {name: _joined(old[name], value, keep) for name, value in new.items()}
    if isinstance(new, tuple):
        return tuple(_joined(*each, keep) for each in zip(old, new, strict=True))
    return old[:keep] + new if isinstance(new, list) else new
