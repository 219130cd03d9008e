"""Where the hours, the judges' tokens and the storage of an organisation went."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from django.core.cache import cache
from django.db.models import Count, Max, Q, QuerySet, Sum
from django.utils import timezone

from hone.accounts.models import Organisation
from hone.datasets.models import DatasetVersion
from jobs.models import Adapter, Checkpoint, Job, Run, RunKind, Trajectory, Usage

MONTHS = 12
PAGE = 50
KEPT_S = 24 * 3600
NOBODY = "nobody"


@dataclass(frozen=True)
class Sums:
    """What steps took: the engine's own seconds, and what judges were asked."""

    steps: int = 0
    seconds: float = 0.0
    sampled_tokens: int = 0
    judge_calls: int = 0
    judge_tokens: int = 0
    judge_cost: float = 0.0

    def __add__(self, other: Sums) -> Sums:
        return Sums(*(mine + more for mine, more in zip(_figures(self), _figures(other))))  # noqa: B905

    @property
    def cost(self) -> float | None:
        """None where judges answered and none of them had a price."""
        return None if self.judge_tokens and not self.judge_cost else self.judge_cost


@dataclass(frozen=True)
class Taken:
    """What one run took; it counts in the month in which it was made."""

    month: str
    job_id: str
    job_name: str
    noun: str
    person_id: str
    person: str
    sums: Sums


@dataclass(frozen=True)
class Line:
    """A sum and the key that opens its rows."""

    key: str
    name: str
    sums: Sums
    note: str = ""


@dataclass(frozen=True)
class Storage:
    """Bytes that are kept."""

    datasets: int
    checkpoints: int
    trajectories: int
    by_job: list[tuple[str, str, int]] = field(default_factory=list)

    @property
    def total(self) -> int:
        return self.datasets + self.checkpoints + self.trajectories


def job_sums(job: Job) -> Sums:
    """What all runs of a job took up to now; one query."""
    return sums_of(Usage.objects.filter(run__job=job))


def sums_of(steps: QuerySet[Usage]) -> Sums:
    """What these steps took together; one query."""
    return Sums(
        **steps.aggregate(
            steps=Count("pk"),
            **{
                name: Sum(name, default=0)
                for name in (
                    "seconds",
                    "sampled_tokens",
                    "judge_calls",
                    "judge_tokens",
                    "judge_cost",
                )
            },
        )
    )


def usage_taken(organisation: Organisation, *, now: datetime | None = None) -> list[Taken]:
    """What each run made in the last twelve months took, in two queries.

    Steps are added up by run alone: a month for each of their rows would cost more than the sums.
    """
    runs = Run.objects.filter(job__organisation=organisation, created_at__gte=_first_month(now))
    sums = {
        row["run_id"]: _sums(row)
        for row in Usage.objects.filter(run__in=runs).values("run_id").annotate(**_SUMS)
    }
    made = runs.select_related("job__created_by").order_by("-created_at", "pk")
    made = made.only("created_at", "job__name", "job__purpose", "job__created_by__email")
    return [_taken(run, sums[run.pk]) for run in made if run.pk in sums]


def _taken(run: Run, sums: Sums) -> Taken:
    job, person = run.job, run.job.created_by
    return Taken(
        month=f"{run.created_at:%Y-%m}",
        job_id=job.pk,
        job_name=job.name,
        noun=job.noun,
        person_id=str(person.pk) if person else NOBODY,
        person=person.email if person else NOBODY,
        sums=sums,
    )


def total(taken: Iterable[Taken]) -> Sums:
    """All of them together."""
    return sum((each.sums for each in taken), Sums())


def by_month(taken: Iterable[Taken]) -> list[Line]:
    """The months in which anything ran, newest first."""
    return sorted(_grouped(taken, lambda each: (each.month, each.month)), key=_key, reverse=True)


def by_job(taken: Iterable[Taken]) -> list[Line]:
    """Jobs, preflights and tries, longest first."""
    lines = _grouped(taken, lambda each: (each.job_id, each.job_name))
    nouns = {each.job_id: "" if each.noun == "job" else each.noun for each in taken}
    return [replace(line, note=nouns[line.key]) for line in _longest(lines)]


def by_person(taken: Iterable[Taken]) -> list[Line]:
    """Who made the jobs, longest first."""
    return _longest(_grouped(taken, lambda each: (each.person_id, each.person)))


def runs_of(job: Job) -> list[Line]:
    """What each run of a job took: training, preflight, and turns measured on demand."""
    kinds = {run.pk: str(run.get_kind_display()) for run in Run.objects.filter(job=job)}
    rows = Usage.objects.filter(run__job=job).values("run_id").annotate(**_SUMS)
    return _longest([Line(row["run_id"], kinds[row["run_id"]], _sums(row)) for row in rows])


def steps_of(run_id: str, *, after: int = -1) -> list[Usage]:
    """The rows themselves, and one more than a page, so that one knows whether there is more."""
    rows = Usage.objects.filter(run_id=run_id, step__gt=after).order_by("step")
    return list(rows[: PAGE + 1])


def storage_kept(organisation: Organisation) -> Storage:
    """What datasets, checkpoints with adapters, and bodies of trajectories take."""
    mine = {"run__job__organisation": organisation}
    by_run = _body_bytes(organisation)
    checkpoints = Checkpoint.objects.filter(available=True, **mine)
    adapters = Adapter.objects.filter(job__organisation=organisation)
    versions = DatasetVersion.objects.filter(dataset__organisation=organisation)
    saved: dict[str, int] = defaultdict(int)
    for rows, name in ((checkpoints, "run__job_id"), (adapters, "job_id")):
        for job_id, size in rows.values_list(name).annotate(size=Sum("bytes")):
            saved[job_id] += size
    jobs = dict(saved)
    for job_id, size in by_run.values():
        jobs[job_id] = jobs.get(job_id, 0) + size
    most = sorted(jobs.items(), key=lambda each: (-each[1], each[0]))[:PAGE]
    names = dict(Job.objects.filter(pk__in=[pk for pk, _ in most]).values_list("pk", "name"))
    return Storage(
        datasets=versions.aggregate(size=Sum("bytes", default=0))["size"],
        checkpoints=sum(saved.values()),
        trajectories=sum(size for _, size in by_run.values()),
        by_job=[(pk, names[pk], size) for pk, size in most],
    )


def _body_bytes(organisation: Organisation) -> dict[str, tuple[str, int]]:
    """Job and bytes of the stored bodies by run.

    What was added up is not added up again: a million rows take seconds, and those of a step never
    change. Of a run that went on, only the newer steps are read.
    """
    place = f"usage-bodies-{organisation.pk}"
    kept: dict[str, tuple[int, int]] = cache.get(place, {})
    runs = Run.objects.filter(job__organisation=organisation).exclude(kind=RunKind.REPLAY)
    found = {pk: (job, step) for pk, job, step in runs.values_list("pk", "job_id", "last_step")}
    stale = [pk for pk, (_, step) in found.items() if kept.get(pk, (-2, 0))[0] != step]
    grown = {pk: kept[pk] for pk in stale if pk in kept and kept[pk][0] < found[pk][1]}
    wanted = Q(run_id__in=[pk for pk in stale if pk not in grown])
    for pk, (step, _) in grown.items():
        wanted |= Q(run_id=pk, step__gt=step)
    kept = {pk: kept[pk] for pk in found if pk in grown or (pk in kept and pk not in stale)}
    kept |= {pk: (found[pk][1], 0) for pk in stale if pk not in grown}
    rows = Trajectory.objects.filter(wanted).values_list("run_id")
    # A step that is committed meanwhile counts: `newest` is what was added up, not what was found.
    for pk, size, newest in rows.annotate(size=Sum("length"), newest=Max("step")):
        kept[pk] = (newest, kept[pk][1] + size)
    cache.set(place, kept, KEPT_S)
    return {pk: (found[pk][0], size) for pk, (_, size) in kept.items()}


_SUMS: dict[str, Any] = {
    "steps": Count("pk"),
    **{f"sum_{name}": Sum(name) for name in list(Sums.__dataclass_fields__)[1:]},
}


def _sums(row: Mapping[str, Any]) -> Sums:
    return Sums(row["steps"], *(row[f"sum_{name}"] for name in list(Sums.__dataclass_fields__)[1:]))


def _figures(sums: Sums) -> list[Any]:
    return [getattr(sums, name) for name in Sums.__dataclass_fields__]


def _grouped(taken: Iterable[Taken], of: Callable[[Taken], tuple[str, str]]) -> list[Line]:
    sums: dict[tuple[str, str], Sums] = defaultdict(Sums)
    for each in taken:
        sums[of(each)] += each.sums
    return [Line(key, name, found) for (key, name), found in sums.items()]


def _longest(lines: list[Line]) -> list[Line]:
    return sorted(lines, key=lambda line: (-line.sums.seconds, line.key))


def _key(line: Line) -> str:
    return line.key


def _first_month(now: datetime | None) -> datetime:
    at = now or timezone.now()
    months = at.year * 12 + at.month - 1 - (MONTHS - 1)
    return at.replace(
        year=months // 12, month=months % 12 + 1, day=1, hour=0, minute=0, second=0, microsecond=0
    )
