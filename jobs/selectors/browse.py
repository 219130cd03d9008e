"""Reads behind the job pages: histograms, group means, live marks, adapters and base models."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.db.models import (
    Avg,
    BooleanField,
    Case,
    Count,
    Exists,
    ExpressionWrapper,
    IntegerField,
    Max,
    OuterRef,
    Q,
    QuerySet,
    Value,
    When,
)

from hone.accounts.models import Organisation
from jobs.models import Adapter, BaseModel, Job, JobEvent, JobStep, Run, RunKind, Trajectory
from jobs.selectors.listing import Filters, trajectory_rows
from jobs.words import NO_SIGNAL

EDGE = 1e-6
"""Rewards closer to 0 or 1 than this count as exactly that."""

GroupKey = tuple[int, str, str]


@dataclass(frozen=True)
class Bin:
    """How many trajectories have a reward in `low`..`high`; both None for the ungraded lane."""

    label: str
    low: float | None
    high: float | None
    n: int


_BINS: tuple[tuple[str, float, float], ...] = (
    ("below 0", -1e30, -EDGE),
    ("0", -EDGE, EDGE),
    ("to 0.2", EDGE, 0.2),
    ("to 0.4", 0.2 + EDGE, 0.4),
    ("to 0.6", 0.4 + EDGE, 0.6),
    ("to 0.8", 0.6 + EDGE, 0.8),
    ("to 1", 0.8 + EDGE, 1 - EDGE),
    ("1", 1 - EDGE, 1 + EDGE),
    ("above 1", 1 + EDGE, 1e30),
)
_ONLY_IF_USED = frozenset({"below 0", "above 1"})


def reward_histogram(job: Job, filters: Filters) -> list[Bin]:
    """The rewards of what the filters leave, in bins; the ungraded are the last one."""
    place = Case(
        *(When(reward__lte=high, then=Value(at)) for at, (_, _, high) in enumerate(_BINS)),
        default=Value(len(_BINS)),
        output_field=IntegerField(),
    )
    rows = trajectory_rows(job, filters)
    counted = dict(rows.annotate(bin=place).values_list("bin").annotate(n=Count("pk")))
    bins = [
        Bin(label, low, high, counted.get(at, 0))
        for at, (label, low, high) in enumerate(_BINS)
        if counted.get(at) or label not in _ONLY_IF_USED
    ]
    return [*bins, Bin("ungraded", None, None, counted.get(len(_BINS), 0))]


def group_means(rows: Iterable[Trajectory]) -> dict[GroupKey, float | None]:
    """The mean reward of each group that a row belongs to, over its graded attempts."""
    listed = list(rows)
    if not listed:
        return {}
    found = (
        Trajectory.objects.filter(
            run_id__in={row.run_id for row in listed},
            step__in={row.step for row in listed},
            group__in={row.group for row in listed},
        )
        .values_list("step", "split", "group")
        .annotate(mean=Avg("reward"))
    )
    return {(step, split, group): mean for step, split, group, mean in found}


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
    run = Run.objects.filter(job=job, kind=RunKind.TRAIN).annotate(event=Max("job__events__pk"))
    found = run.only("desired", "progress", "last_step").get()
    progress = found.progress
    phase = f"{progress.get('phase', '')}.{progress.get('done', '')}" if progress else ""
    return Mark(
        step=found.last_step,
        status=job.status,
        wanted=found.desired,
        event=found.event or 0,
        phase=phase,
    )


def job_steps(job: Job) -> QuerySet[JobStep]:
    """The committed steps of a job's training, oldest first."""
    return JobStep.objects.filter(run__job=job, run__kind=RunKind.TRAIN).order_by("step")


def validation_trends(jobs: Iterable[Job]) -> dict[str, list[float]]:
    """The validation rewards of each job, oldest first; one query for a whole list."""
    trends: dict[str, list[float]] = {}
    rows = JobStep.objects.filter(run__job__in=list(jobs), run__kind=RunKind.TRAIN).exclude(
        metrics__validation__reward_mean=None
    )
    found = rows.order_by("step").values_list("run__job_id", "metrics__validation__reward_mean")
    for job_id, reward in found:
        if isinstance(reward, int | float):
            trends.setdefault(job_id, []).append(float(reward))
    return trends


def job_counts(organisation: Organisation) -> dict[str, int]:
    """How many jobs are in each state."""
    rows = Job.objects.filter(organisation=organisation).order_by()
    return dict(rows.values_list("status").annotate(n=Count("pk")))


def trained_adapters(organisation: Organisation) -> QuerySet[Adapter]:
    """What the organisation's jobs made, newest first."""
    rows = Adapter.objects.filter(job__organisation=organisation)
    return rows.select_related("job__base_model").order_by("-created_at", "-pk")


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


def has_no_signal(job: Job) -> bool:
    """Whether the job has trained, and no step of it had a learning signal."""
    found: bool = _runs_told([job]).filter(is_silent=True).exists()
    return found


def _runs_told(jobs: Iterable[Job]) -> Any:
    steps = JobStep.objects.filter(run=OuterRef("pk"), step__gt=0)
    trained = Exists(steps.filter(metrics__groups__total__isnull=False))
    learned = Exists(steps.filter(metrics__groups__with_signal__gt=0))
    is_paused = ~Q(pause_reason="") & ~Q(pause_reason="asked")
    return Run.objects.filter(job__in=list(jobs), kind=RunKind.TRAIN).annotate(
        is_paused=ExpressionWrapper(is_paused, output_field=BooleanField()),
        is_silent=ExpressionWrapper(trained & ~learned, output_field=BooleanField()),
    )


def latest_event_id(organisation: Organisation) -> int:
    """The newest event of any job of the organisation; 0 where there is none."""
    rows = JobEvent.objects.filter(job__organisation=organisation)
    found: int | None = rows.aggregate(newest=Max("pk"))["newest"]
    return found or 0
