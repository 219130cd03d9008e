"""The columns of a live job's charts: what a new step adds joins those of the state before it.

A point is made of its own steps alone, so of a hundred thousand steps a new one changes the last
point or adds one. All others stay as they were read.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Any

from jobs.models import Job
from jobs.selectors.leads import Lead
from jobs.selectors.series import (
    FAMILIES,
    columns_of,
    families_of,
    job_series,
    points_in,
    view_of,
)
from jobs.selectors.shared import shared

Columns = dict[str, Any]

MOST_KEPT = 16
_before: OrderedDict[Hashable, Columns] = OrderedDict()
_guard = threading.Lock()


def lead_series(lead: Lead, first: int | None, last: int | None) -> Columns:
    """As `job_series`, made once for all viewers; nobody may change it."""
    return shared((*lead.state, "series", first, last), lambda: _made(lead, first, last))


def _made(lead: Lead, first: int | None, last: int | None) -> Columns:
    # Whoever takes the run over begins another epoch, and with it everything is read anew.
    key = (lead.run.pk, lead.run.epoch, first, last)
    before = _before.get(key)
    columns = grown(before, lead.job, first, last) if before else None
    if columns is None:
        columns = job_series(lead.job, first=first, last=last)
    with _guard:
        _before[key] = columns
        _before.move_to_end(key)
        if len(_before) > MOST_KEPT:
            _before.popitem(last=False)
    return columns


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
