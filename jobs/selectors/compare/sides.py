"""The jobs of a comparison, each at the step that is looked at."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import Case, FilteredRelation, OuterRef, Q, Subquery, Sum, When

from hone.core.errors import UserError
from jobs.models import Job, JobStep, Run, RunKind, Usage

Reached = dict[tuple[str, int], tuple[dict[str, Any], float]]
"""By run and step: the validation's figures, and the seconds that the worker took up to there."""
NEAR = 200
"""How many earlier steps are looked through for one that was evaluated."""


@dataclass(frozen=True)
class Side:
    """One job at one step. `focus` None: nothing of it was evaluated yet.

    `validation` and `base` are the stored figures of that step and of step 0; `seconds` is what
    its worker took up to that step, or in all where no step was asked for.
    """

    job: Job
    step: int | None
    run_id: str
    focus: int | None
    validation: dict[str, Any]
    base: dict[str, Any]
    seconds: float

    @property
    def key(self) -> str:
        """As the address names it."""
        return self.job.pk if self.step is None else f"{self.job.pk}@{self.step}"

    @property
    def name(self) -> str:
        return self.job.name if self.step is None else f"{self.job.name} @ {self.step}"

    @property
    def reward(self) -> float | None:
        return figure(self.validation, "reward_mean")

    @property
    def gain(self) -> float | None:
        """What validation reward it gained over its base model."""
        base = figure(self.base, "reward_mean")
        return None if self.reward is None or base is None else self.reward - base

    @property
    def hours(self) -> float:
        return self.seconds / 3600

    @property
    def gain_per_hour(self) -> float | None:
        return self.gain / self.hours if self.gain is not None and self.hours > 0 else None


def figure(metrics: dict[str, Any], key: str) -> float | None:
    """A number of stored metrics; None where there is none."""
    value = metrics.get(key)
    return float(value) if isinstance(value, int | float) else None


def sides(chosen: Sequence[tuple[Job, int | None]]) -> list[Side]:
    """Jobs that the caller was let in to, with what they reached; UserError names a bad step."""
    for job, _ in chosen:
        if not job.trains:
            raise UserError(
                f"{job.name} is a {job.noun}, which trains nothing. Leave it out.",
                code="compare_preflight",
                field="jobs",
            )
    focus = [job.best_step if step is None else step for job, step in chosen]
    runs, at = _reached(
        jobs={job.pk for job, _ in chosen},
        steps={0, *(step for step in focus if step is not None)},
        asked=[(job, step) for job, step in chosen if step is not None],
    )
    found = []
    for (job, asked), step in zip(chosen, focus, strict=True):
        run_id = runs[job.pk]
        measured = _measured(at, run_id, step)
        if asked is not None and not measured:
            raise _not_evaluated(job, run_id, asked)
        found.append(
            Side(
                job=job,
                step=asked,
                run_id=run_id,
                focus=step,
                validation=measured,
                base=_measured(at, run_id, 0),
                seconds=job.engine_seconds if asked is None else at[run_id, asked][1],
            )
        )
    return found


def _reached(
    jobs: Collection[str], steps: set[int], asked: Sequence[tuple[Job, int]]
) -> tuple[dict[str, str], Reached]:
    """The run of each job, what these steps measured, and how long it took up to those that were
    asked for; one query."""
    until = Q(pk=None)
    for job, step in asked:
        until |= Q(job=job, at__step=step)
    spent = Usage.objects.filter(run=OuterRef("pk"), step__lte=OuterRef("at__step")).order_by()
    worked = spent.values("run").annotate(total=Sum("seconds")).values("total")
    rows = (
        Run.objects.filter(job__in=jobs, kind=RunKind.TRAIN)
        .annotate(at=FilteredRelation("steps", condition=Q(steps__step__in=steps)))
        .annotate(worked=Case(When(until, then=Subquery(worked))))
        .values_list("job", "pk", "at__step", "at__metrics", "worked")
    )
    runs: dict[str, str] = {}
    at: Reached = {}
    for job_id, run_id, step, metrics, seconds in rows:
        runs[job_id] = run_id
        if step is not None:
            at[run_id, step] = metrics.get("validation") or {}, float(seconds or 0.0)
    return runs, at


def _measured(at: Reached, run_id: str, step: int | None) -> dict[str, Any]:
    return at.get((run_id, -1 if step is None else step), ({}, 0.0))[0]


def _not_evaluated(job: Job, run_id: str, step: int) -> UserError:
    before = JobStep.objects.filter(run_id=run_id, step__lte=step).order_by("-step")[:NEAR]
    evaluated = (each.step for each in before if each.metrics.get("validation"))
    nearest = next(evaluated, None)
    way = "" if nearest is None else f" The nearest evaluated step before it is {nearest}."
    return UserError(
        f"Step {step} of {job.name} was not evaluated.{way}",
        code="compare_step",
        field="jobs",
    )
