"""Reading comparisons and marks; every fetch by id goes through an access door."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from django.contrib.auth.models import AnonymousUser
from django.db.models import F, QuerySet
from django.http import Http404

from graders.models import GraderVersion
from hone.accounts.models import Organisation, User
from hone.accounts.selectors import Need, access_row
from jobs.engine.types import StopReason
from jobs.models import ComparedScore, Comparison, HumanMark, Job, Trajectory
from jobs.workbench.mutations import WORDS
from jobs.workbench.plan import AS_IS, Candidate

PAGE = 25
MOST_LISTED = 200
NEVER_GRADED = (str(StopReason.TOOL_FAULT), str(StopReason.TIME_LIMIT))
"""Rollouts that the world ended: there is no answer to grade."""
DISAGREE = 0.1
"""A gap that is wider is a disagreement."""


@dataclass(frozen=True)
class Selection:
    """Which trajectories of a job to read; None and empty leave out nothing."""

    first_step: int | None = None
    last_step: int | None = None
    split: str = ""
    most: int = 256


def access_comparison(
    user: User | AnonymousUser, comparison_id: object, *, need: Need = "read"
) -> Comparison:
    """The comparison, if the user may `need` its job."""
    rows = Comparison.objects.select_related("job__grader_version", "created_by", *_VERSIONS)
    return access_row(rows, user, comparison_id, need=need)


_VERSIONS = ("version_a__grader", "version_b__grader")


def access_forgery(
    user: User | AnonymousUser, comparison_id: object, score_id: int, *, need: Need = "read"
) -> ComparedScore:
    """A changed sample of a comparison that the user may `need`."""
    comparison = access_comparison(user, comparison_id, need=need)
    rows = scores(comparison, *WORDS).select_related("trajectory__run")
    found = rows.filter(pk=score_id).first() if score_id < 2**63 else None
    if found is None:
        raise Http404("There is nothing here that you can see.")
    found.comparison = comparison
    return found


def comparison_list(organisation: Organisation, *, job: Job | None = None) -> list[Comparison]:
    """The newest first, without what they hold."""
    rows = Comparison.objects.filter(job__organisation=organisation)
    if job is not None:
        rows = rows.filter(job=job)
    rows = rows.select_related("job", "created_by").defer("spec_a", "spec_b", "chosen")
    return list(rows.order_by("-created_at", "-pk")[:MOST_LISTED])


def comparable_jobs(organisation: Organisation) -> list[Job]:
    """Jobs that have stored trajectories, the newest first."""
    rows = Job.objects.filter(organisation=organisation, last_step__gte=0)
    return list(rows.order_by("-created_at", "-pk")[:MOST_LISTED])


def grader_versions(organisation: Organisation) -> list[GraderVersion]:
    """Every version that can be compared: by grader, the newest first."""
    rows = GraderVersion.objects.filter(grader__organisation=organisation, grader__archived=False)
    rows = rows.select_related("grader").order_by("grader__name", "grader_id", "-number")
    return list(rows[: 2 * MOST_LISTED])


def candidates(job: Job, selection: Selection) -> list[Candidate]:
    """The trajectories of the job that can be graded; no body is opened."""
    rows = Trajectory.objects.filter(run__job=job).exclude(stop__in=NEVER_GRADED)
    if selection.first_step is not None:
        rows = rows.filter(step__gte=selection.first_step)
    if selection.last_step is not None:
        rows = rows.filter(step__lte=selection.last_step)
    if selection.split:
        rows = rows.filter(split=selection.split)
    return [Candidate(*found) for found in rows.values_list("pk", "step", "reward")]


def score_page(
    comparison: Comparison, *, only: str = "", start: int = 0
) -> tuple[list[ComparedScore], bool]:
    """A page of samples as they are, the widest gaps first, and whether there are more."""
    rows = scores(comparison, AS_IS).select_related("trajectory")
    if only == "ungraded":
        rows = rows.filter(gap=None)
    elif only == "disagree":
        rows = rows.filter(gap__gt=DISAGREE)
    elif only == "marked":
        marked = HumanMark.objects.filter(trajectory__run__job_id=comparison.job_id)
        rows = rows.filter(trajectory__in=marked.values("trajectory"))
    ordered = rows.order_by(F("gap").desc(nulls_last=True), "pk")
    found = list(ordered[start : start + PAGE + 1])
    return found[:PAGE], len(found) > PAGE


def scores(comparison: Comparison, *cases: str) -> QuerySet[ComparedScore]:
    """The scores of these cases, in no order."""
    return ComparedScore.objects.filter(comparison=comparison, case__in=cases)


def marks_of(trajectories: Iterable[Trajectory]) -> dict[int, list[HumanMark]]:
    """What people think of each of these, oldest first."""
    rows = HumanMark.objects.filter(trajectory__in=list(trajectories)).select_related("user")
    found: dict[int, list[HumanMark]] = {}
    for mark in rows.order_by("pk"):
        found.setdefault(mark.trajectory_id, []).append(mark)
    return found


def mean_marks(comparison: Comparison) -> dict[int, float]:
    """What people think on average of each trajectory of a comparison that anybody marked."""
    of_job = HumanMark.objects.filter(trajectory__run__job_id=comparison.job_id)
    chosen = set(comparison.chosen)
    found: dict[int, list[float]] = {}
    for trajectory_id, value in of_job.values_list("trajectory_id", "value"):
        if trajectory_id in chosen:
            found.setdefault(trajectory_id, []).append(value)
    return {pk: sum(values) / len(values) for pk, values in found.items()}


def mark_range(spec: Any) -> tuple[float, float]:
    """The scale that people mark on: the grader's `range` where it names one, else 0 to 1."""
    given: Sequence[Any] = spec.get("range") if isinstance(spec, dict) else None  # type: ignore[assignment]
    if isinstance(given, list) and len(given) == 2:
        low, high = given
        if all(type(each) in {int, float} for each in given) and low < high:
            return float(low), float(high)
    return 0.0, 1.0
