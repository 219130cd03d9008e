"""Lists: jobs, trajectories by keyset, events and checkpoints. None of them opens a body."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.db.models import Case, F, IntegerField, Q, QuerySet, Value, When

from hone.accounts.models import Organisation
from jobs.models import Checkpoint, Job, JobEvent, Status, Trajectory
from jobs.models.trajectory import SEPARATOR

PAGE = 50


@dataclass(frozen=True)
class Filters:
    """What the trajectory list shows; empty and None leave out nothing."""

    step: int | None = None
    split: str = ""
    stop: str = ""
    flag: str = ""
    tool: str = ""
    row: int | None = None
    group: str = ""
    reward_from: float | None = None
    reward_to: float | None = None
    text: str = ""


@dataclass(frozen=True)
class Page:
    """One page of trajectories in order; `before` and `after` are ids for the neighbour pages."""

    rows: Sequence[Trajectory]
    before: int | None
    after: int | None


def job_list(organisation: Organisation, *, status: str = "", text: str = "") -> QuerySet[Job]:
    """Jobs of an organisation: what needs somebody, running, queued, then the newest."""
    rank = Case(
        When(status=Status.PAUSED, then=Value(0)),
        When(status=Status.RUNNING, then=Value(1)),
        When(status__in=(Status.QUEUED, Status.VALIDATING_FILES), then=Value(2)),
        default=Value(3),
        output_field=IntegerField(),
    )
    rows = Job.objects.filter(organisation=organisation).select_related("base_model", "created_by")
    if status:
        rows = rows.filter(status=status)
    if text:
        rows = rows.filter(Q(name__icontains=text) | Q(pk__icontains=text))
    return rows.annotate(rank=rank).order_by("rank", "-created_at", "-id")


def trajectory_list(
    job: Job,
    filters: Filters,
    *,
    after: int | None = None,
    before: int | None = None,
    limit: int = PAGE,
) -> Page:
    """A page of trajectories after or before an id: newest step first, each in the order made."""
    rows = trajectory_rows(job, filters)
    if before is not None:
        step = _step(job, before)
        earlier = Q(step__gt=step) | Q(step=step, pk__lt=before)
        found = list(rows.filter(earlier).order_by("step", "-pk")[: limit + 1])
        more, shown = len(found) > limit, found[:limit][::-1]
        return Page(shown, shown[0].pk if more and shown else None, _last(shown))
    if after is not None:
        step = _step(job, after)
        rows = rows.filter(Q(step__lt=step) | Q(step=step, pk__gt=after))
    found = list(rows.order_by("-step", "pk")[: limit + 1])
    shown = found[:limit]
    first = shown[0].pk if after is not None and shown else None
    return Page(shown, first, _last(shown) if len(found) > limit else None)


def _step(job: Job, trajectory_id: int) -> int:
    """The step of a page's edge; -1 for an id that is not of this job."""
    rows = Trajectory.objects.filter(run__job=job, pk=trajectory_id)
    step: int | None = rows.values_list("step", flat=True).first()
    return -1 if step is None else step


def _last(rows: list[Trajectory]) -> int | None:
    return rows[-1].pk if rows else None


def trajectory_rows(job: Job, filters: Filters) -> QuerySet[Trajectory]:
    """The trajectories that the filters leave, in no order."""
    exact = {
        "step": filters.step,
        "split": filters.split or None,
        "stop": filters.stop or None,
        "row": filters.row,
        "group": filters.group or None,
        "reward__gte": filters.reward_from,
        "reward__lte": filters.reward_to,
        "excerpt__icontains": filters.text or None,
    }
    for column, word in (("packed_flags", filters.flag), ("packed_tools", filters.tool)):
        exact[f"{column}__contains"] = f"{SEPARATOR}{word}{SEPARATOR}" if word else None
    chosen = {name: value for name, value in exact.items() if value is not None}
    return Trajectory.objects.filter(run__job=job, **chosen)


def trajectory_siblings(trajectory: Trajectory) -> QuerySet[Trajectory]:
    """The attempts at the same task in the same step, itself among them."""
    return Trajectory.objects.filter(
        run_id=trajectory.run_id,
        step=trajectory.step,
        split=trajectory.split,
        group=trajectory.group,
    ).order_by("sample", "pk")


def job_events(
    job: Job, *, after: int | None = None, level: str = "", limit: int = PAGE
) -> list[JobEvent]:
    """Events, newest first; `after` is the id of the last one of the page before."""
    rows = JobEvent.objects.filter(job=job)
    if after is not None:
        rows = rows.filter(pk__lt=after)
    if level:
        rows = rows.filter(level=level)
    return list(rows.order_by("-pk")[:limit])


def job_checkpoints(job: Job) -> list[Checkpoint]:
    """Checkpoints that are on disk: best first, then those without an evaluation, newest first."""
    rows = Checkpoint.objects.filter(run__job=job, available=True)
    return list(rows.order_by(F("validation_reward").desc(nulls_last=True), "-step"))
