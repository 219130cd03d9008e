"""A job's events as people read them: newest first, filtered, equal neighbours folded into one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from jobs.models import Job, JobEvent

PAGE = 50
MOST_READ = 1000
"""Events that one page reads: a longer fold goes on on the next one."""


@dataclass(frozen=True)
class Line:
    """An event, or `n` equal ones in a row: the newest, and when the oldest of them was."""

    event: JobEvent
    since: datetime
    n: int = 1


@dataclass(frozen=True)
class History:
    """One page; `after` is the id that the next page begins below, None on the last one."""

    lines: list[Line]
    after: int | None


def job_history(
    job: Job, *, after: int | None = None, level: str = "", text: str = "", limit: int = PAGE
) -> History:
    """At most `limit` lines below the event `after`, in one query however long the history is."""
    rows = JobEvent.objects.filter(job=job)
    if after is not None:
        rows = rows.filter(pk__lt=after)
    if level:
        rows = rows.filter(level=level)
    if text:
        rows = rows.filter(text__icontains=text)
    read = list(rows.order_by("-pk")[: MOST_READ + 1])
    lines: list[Line] = []
    last: JobEvent | None = None
    for event in read[:MOST_READ]:
        if lines and _equal(lines[-1].event, event):
            lines[-1] = replace(lines[-1], since=event.created_at, n=lines[-1].n + 1)
        elif len(lines) == limit:
            break
        else:
            lines.append(Line(event, event.created_at))
        last = event
    more = last is not None and last is not read[-1]
    return History(lines, last.pk if more and last is not None else None)


def _equal(one: JobEvent, other: JobEvent) -> bool:
    return (one.level, one.code, one.text) == (other.level, other.code, other.text)
