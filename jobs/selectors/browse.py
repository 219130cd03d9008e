"""Reads behind the job pages: trends, counts, attention and base models."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.db.models import (
    BooleanField,
    Count,
    Exists,
    ExpressionWrapper,
    Max,
    OuterRef,
    Q,
    QuerySet,
)

from hone.accounts.models import Organisation
from jobs.engine.alarms import ALARMS
from jobs.models import (
    OPEN,
    BaseModel,
    Job,
    JobEvent,
    JobStep,
    Purpose,
    Run,
    RunKind,
    StepBucket,
)
from jobs.selectors.attention import Person, seen_step
from jobs.selectors.rollup import SIZES
from jobs.selectors.series import LOW
from jobs.words import NO_SIGNAL

SHORT = 100
"""A trend of fewer steps reads the steps themselves."""


def job_steps(job: Job) -> QuerySet[JobStep]:
    """The committed steps of a job's training, oldest first."""
    return JobStep.objects.filter(run__job=job, run__kind=RunKind.TRAIN).order_by("step")


def validation_trends(jobs: Iterable[Job]) -> dict[str, list[float]]:
    """The validation rewards of each job, oldest first, thinned where a job has many steps."""
    listed = [job for job in jobs if job.last_step >= 0]
    short = [job for job in listed if job.last_step < SHORT]
    found: list[tuple[str, Any]] = []
    if short:
        # The bound says nothing new, but PostgreSQL would read the steps of all jobs without it.
        steps = JobStep.objects.filter(run__job__in=short, run__kind=RunKind.TRAIN, step__lt=SHORT)
        steps = steps.exclude(metrics__validation__reward_mean=None).order_by("step")
        found += steps.values_list("run__job_id", "metrics__validation__reward_mean")
    if len(short) < len(listed):
        wanted = Q()
        for job in listed:
            if job.last_step >= SHORT:
                wanted |= Q(run__job=job, size=_trend_size(job.last_step))
        buckets = StepBucket.objects.filter(wanted, run__kind=RunKind.TRAIN)
        buckets = buckets.filter(validation_reward__isnull=False).order_by("first")
        found += buckets.values_list("run__job_id", "validation_reward")
    trends: dict[str, list[float]] = {}
    for job_id, reward in found:
        if isinstance(reward, int | float):
            trends.setdefault(job_id, []).append(float(reward))
    return trends


def _trend_size(steps: int) -> int:
    """The size of buckets that gives a trend of some hundred points at most."""
    return next((size for size in SIZES if steps <= size * SHORT), SIZES[-1])


def job_counts(organisation: Organisation) -> dict[str, int]:
    """How many jobs are in each state."""
    rows = Job.objects.filter(organisation=organisation, purpose=Purpose.TRAIN).order_by()
    return dict(rows.values_list("status").annotate(n=Count("pk")))


def base_models_listed() -> QuerySet[BaseModel]:
    """The operator's list, by name; models that are off last."""
    return BaseModel.objects.order_by("-enabled", "name")


def attention_of(jobs: Iterable[Job]) -> dict[str, str]:
    """Why each paused job waits, and which jobs learned nothing; one query for a whole list."""
    runs = _runs_told(jobs)
    return {
        run.job_id: (run.pause_text or run.get_pause_reason_display())
        if run.is_paused
        else NO_SIGNAL
        for run in runs.filter(Q(is_paused=True) | Q(is_silent=True))
    }


def alarms_of(jobs: Iterable[Job], person: Person) -> dict[str, str]:
    """What the alarms of the jobs that are not final told that the person has not seen; one query
    for a whole list."""
    watched = [job.pk for job in jobs if job.status in OPEN]
    told = JobEvent.objects.filter(job__in=watched, code__in=list(ALARMS), step__isnull=False)
    rows = told.order_by().values_list("job_id", "code").annotate(last=Max("step"))
    fresh: dict[str, list[int]] = {}
    for job_id, _, last, seen in rows.annotate(seen=seen_step(person)):
        if seen is None or seen < last:
            fresh.setdefault(job_id, []).append(last)
    return {
        job_id: f"{len(steps)} alarm{'' if len(steps) == 1 else 's'}, last at step {max(steps)}"
        for job_id, steps in fresh.items()
    }


def has_no_signal(job: Job) -> bool:
    """Whether the job has trained, and no step of it had a learning signal."""
    found: bool = _runs_told([job]).filter(is_silent=True).exists()
    return found


def _runs_told(jobs: Iterable[Job]) -> Any:
    """From the widest buckets: one row for some thousand steps, however long the job."""
    widest = StepBucket.objects.filter(run=OuterRef("pk"), size=SIZES[-1])
    trained = Exists(widest.filter(figures__has_key="groups.silent"))
    learned = Exists(widest.filter(**{f"figures__groups.silent__{LOW}__lt": 1}))
    is_paused = ~Q(pause_reason="") & ~Q(pause_reason="asked")
    return Run.objects.filter(job__in=list(jobs), kind=RunKind.TRAIN).annotate(
        is_paused=ExpressionWrapper(is_paused, output_field=BooleanField()),
        is_silent=ExpressionWrapper(trained & ~learned, output_field=BooleanField()),
    )
