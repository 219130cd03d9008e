"""A job with its leading run, as one query reads them: what most of its first page is made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.contrib.auth.models import AnonymousUser
from django.db.models import BooleanField, Exists, ExpressionWrapper, OuterRef, Q, QuerySet
from django.db.models.functions import Now

from hone.accounts.models import User
from hone.accounts.selectors import access_row
from jobs.models import LEADING, Job, Run
from jobs.selectors.marks import Mark, run_mark, with_mark

_LOST = Q(lease_until__isnull=True) | Q(lease_until__lt=Now())


@dataclass(frozen=True)
class Lead:
    """`lost`: by the database's clock nobody holds the run; `mark`: where it stands;
    `has_others`: the job has other runs, of turns measured on demand."""

    run: Run
    lost: bool
    mark: Mark
    has_others: bool

    @property
    def job(self) -> Job:
        return self.run.job

    @property
    def state(self) -> tuple[str, int, int]:
        """What changes whenever a step is committed, or somebody else takes the run."""
        return self.run.pk, self.run.epoch, self.run.last_step


def access_lead(user: User | AnonymousUser, job_id: str) -> Lead:
    """Of a job that the user may read; raises as `access_job` does."""
    return _lead(access_row(_rows(), user, job_id, key="job"))


def lead_of(job: Job) -> Lead:
    return _lead(_rows().get(job=job))


def _rows() -> QuerySet[Any]:
    lost = ExpressionWrapper(_LOST, output_field=BooleanField())
    others = Run.objects.filter(job=OuterRef("job")).exclude(pk=OuterRef("pk"))
    leading = Run.objects.filter(kind__in=LEADING)
    rows = with_mark(leading.annotate(lost=lost, has_others=Exists(others)))
    return rows.select_related("job__base_model", "job__created_by", "job__adapter")


def _lead(run: Any) -> Lead:
    return Lead(run, run.lost, run_mark(run, run.job.status), run.has_others)
