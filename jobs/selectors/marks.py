"""What a live page has seen. Every open page asks this all the time, so it is one small query."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from django.contrib.auth.models import AnonymousUser
from django.db.models import Count, F, Max, OuterRef, QuerySet, Subquery
from django.http import Http404

from hone.accounts.models import Organisation, User
from hone.accounts.selectors import is_plausible, seen_by
from jobs.models import LEADING, OPEN, Job, JobEvent, Run, Status
from jobs.selectors.waits import queue_mark


@dataclass(frozen=True)
class Mark:
    """What a page has seen of a job; two equal marks mean that nothing is new."""

    step: int
    status: str
    wanted: str
    event: int
    phase: str

    def __str__(self) -> str:
        return "~".join((str(self.step), self.status, self.wanted, str(self.event), self.phase))


def job_mark(job: Job) -> Mark:
    """Where the job stands now, for the live pages to compare."""
    return _mark(Run.objects.filter(job=job))


def settled(mark: Mark) -> Mark:
    """The mark without what passes within a step."""
    return replace(mark, phase="")


def run_mark(run: Any, status: str) -> Mark:
    """The mark of a job by its leading run, as `with_mark` reads it; one more query while it is
    queued."""
    at = run.progress
    phase = f"{at.get('phase', '')}.{at.get('done', '')}" if at else ""
    if not phase and status == Status.QUEUED:
        phase = queue_mark(run.job)
    return Mark(run.last_step, status, run.desired, run.event or 0, phase)


def access_mark(user: User | AnonymousUser, job_id: str) -> Mark:
    """The mark of a job that the user may read; raises as `access_job` does."""
    mine = seen_by(Run.objects.filter(job_id=job_id), user, organisation="job__organisation")
    try:
        return _mark(mine if is_plausible(job_id) else mine.none())
    except Run.DoesNotExist as error:
        raise Http404("There is nothing here that you can see.") from error


def jobs_mark(organisation: Organisation) -> str:
    """What a list has seen of an organisation's jobs: it changes with every event of a job that is
    not final, and when a job begins or ends."""
    rows = Job.objects.filter(organisation=organisation, status__in=OPEN).order_by()
    told = rows.annotate(event=_newest_event("pk")).aggregate(open=Count("pk"), newest=Max("event"))
    return f"{told['open']}~{told['newest'] or 0}"


def _mark(runs: QuerySet[Run]) -> Mark:
    rows = with_mark(runs.filter(kind__in=LEADING)).annotate(stands=F("job__status"))
    run = rows.only("last_step", "desired", "progress", "job").get()
    return run_mark(run, run.stands)


def with_mark(runs: QuerySet[Run]) -> QuerySet[Any]:
    """Adds what `run_mark` needs of the job beside its run."""
    return runs.annotate(event=_newest_event("job"))


def _newest_event(job: str) -> Subquery:
    """By the index of a job's events: its newest one alone is looked at, however many there are."""
    rows = JobEvent.objects.filter(job=OuterRef(job)).order_by("-pk")
    return Subquery(rows.values("pk")[:1])
