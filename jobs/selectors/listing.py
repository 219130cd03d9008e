"""Lists: jobs, siblings and measurements. None of them opens a body."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Case, IntegerField, Q, QuerySet, Value, When
from django.db.models.fields.json import KeyTransform

from hone.accounts.models import Organisation
from jobs.models import Job, Purpose, Replay, Status, Trajectory

MOST_COMBINATIONS = 1000
RANKS = "0123"


@dataclass(frozen=True)
class JobFilters:
    """What the jobs list shows; empty leaves out nothing. `owner`: an id; `text`: words, `k=v`."""

    status: str = ""
    owner: str = ""
    base: str = ""
    dataset: str = ""
    text: str = ""

    def __bool__(self) -> bool:
        return any((self.status, self.owner, self.base, self.dataset, self.text.strip()))


EVERYTHING = JobFilters()


@dataclass(frozen=True)
class Choices:
    """What an organisation's jobs can be narrowed to: names, and people by id."""

    owners: dict[str, str]
    bases: list[str]
    datasets: list[str]


def job_list(
    organisation: Organisation, filters: JobFilters = EVERYTHING, *, after: str = ""
) -> QuerySet[Job]:
    """Jobs of an organisation: what needs somebody, running, queued, then the newest.

    `after` is `place_of` the last job of the page before; one that does not fit is left out.
    """
    rank = Case(
        When(status=Status.PAUSED, then=Value(0)),
        When(status=Status.RUNNING, then=Value(1)),
        When(status__in=(Status.QUEUED, Status.VALIDATING_FILES), then=Value(2)),
        default=Value(3),
        output_field=IntegerField(),
    )
    rows = Job.objects.filter(organisation=organisation, purpose=Purpose.TRAIN)
    rows = _narrowed(rows.select_related("base_model", "created_by"), filters)
    rows = rows.annotate(rank=rank).order_by("rank", "-created_at", "-id")
    return rows.filter(_behind(after)) if after else rows


def place_of(job: Job) -> str:
    """Where a listed job stands in the order, as `job_list` takes it for the next page."""
    rank: int = job.rank  # type: ignore[attr-defined]
    return f"{rank}~{job.created_at.isoformat()}~{job.pk}"


def moved(jobs: Iterable[Job], ranks: Mapping[str, str]) -> int:
    """How many of the listed jobs belong elsewhere in the order than where they were listed by
    `ranks`, each job's digit in `RANKS`."""
    return sum(ranks.get(job.pk) not in {None, rank_of(job)} for job in jobs)


def rank_of(job: Job) -> str:
    """Which part of the order a listed job belongs to."""
    return RANKS[job.rank]  # type: ignore[attr-defined]


def job_choices(organisation: Organisation) -> Choices:
    """What the filters offer, from the jobs that there are; one query."""
    rows = Job.objects.filter(organisation=organisation, purpose=Purpose.TRAIN).order_by()
    found = rows.values_list(
        "created_by_id",
        "created_by__name",
        "created_by__email",
        "base_model__name",
        "train_version__dataset__name",
    ).distinct()[:MOST_COMBINATIONS]
    made = list(found)
    owners = {str(pk): name or email for pk, name, email, _, _ in made if pk is not None}
    return Choices(
        owners=dict(sorted(owners.items(), key=lambda each: each[1].casefold())),
        bases=sorted({base for _, _, _, base, _ in made}),
        datasets=sorted({dataset for *_, dataset in made if dataset}),
    )


def _narrowed(rows: QuerySet[Job], filters: JobFilters) -> QuerySet[Job]:
    if filters.status:
        rows = rows.filter(status=filters.status)
    if filters.owner:
        rows = rows.filter(created_by=int(filters.owner))
    if filters.base:
        rows = rows.filter(base_model__name=filters.base)
    if filters.dataset:
        rows = rows.filter(train_version__dataset__name=filters.dataset)
    words = filters.text.split()
    for at, word in enumerate(word for word in words if "=" in word):
        key, _, value = word.partition("=")
        rows = rows.alias(**{f"metadata_{at}": KeyTransform(key, "metadata")})
        rows = rows.filter(**{f"metadata_{at}": value})
    text = " ".join(word for word in words if "=" not in word)
    return rows.filter(Q(name__icontains=text) | Q(pk__icontains=text)) if text else rows


def _behind(after: str) -> Q:
    rank, _, rest = after.partition("~")
    moment, _, pk = rest.partition("~")
    try:
        at, place = datetime.fromisoformat(moment), RANKS.index(rank)
    except ValueError:
        return Q()
    if at.tzinfo is None:
        return Q()
    later = Q(created_at__lt=at) | Q(created_at=at, pk__lt=pk)
    return Q(rank__gt=place) | Q(later, rank=place)


def trajectory_siblings(trajectory: Trajectory) -> QuerySet[Trajectory]:
    """The attempts at the same task in the same step, itself among them."""
    return Trajectory.objects.filter(
        run_id=trajectory.run_id,
        step=trajectory.step,
        split=trajectory.split,
        group=trajectory.group,
    ).order_by("sample", "pk")


def turn_replays(trajectories: Collection[Trajectory], turn: int) -> list[Replay]:
    """What was measured of this turn of theirs, or will be, newest first."""
    rows = Replay.objects.filter(trajectory__in=trajectories, turn=turn)
    return list(rows.select_related("run", "trajectory").order_by("-run__created_at", "-pk"))


def trajectory_replays(trajectory: Trajectory) -> QuerySet[Replay]:
    """What was measured of its turns on demand, or will be, newest first."""
    rows = Replay.objects.filter(trajectory=trajectory).select_related("run", "trajectory")
    return rows.order_by("-run__created_at", "-pk")
