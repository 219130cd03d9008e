"""The jobs of a comparison, each at the step that is looked at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import Q, Sum

from hone.core.errors import UserError
from jobs.models import Job, JobStep, RunKind, Usage

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
    runs = _runs([job.pk for job, _ in chosen])
    focus = [job.best_step if step is None else step for job, step in chosen]
    at = _validations([(runs[job.pk], step) for (job, _), step in zip(chosen, focus, strict=True)])
    found = []
    for (job, asked), step in zip(chosen, focus, strict=True):
        run_id = runs[job.pk]
        if asked is not None and not at.get((run_id, asked)):
            raise _not_evaluated(job, run_id, asked)
        found.append(
            Side(
                job=job,
                step=asked,
                run_id=run_id,
                focus=step,
                validation=at.get((run_id, step), {}) if step is not None else {},
                base=at.get((run_id, 0), {}),
                seconds=job.engine_seconds if asked is None else _seconds(run_id, asked),
            )
        )
    return found


def _runs(job_ids: Sequence[str]) -> dict[str, str]:
    rows = Job.objects.filter(pk__in=job_ids, runs__kind=RunKind.TRAIN)
    return dict(rows.order_by().values_list("pk", "runs__pk"))


def _validations(places: Sequence[tuple[str, int | None]]) -> dict[tuple[str, int], dict[str, Any]]:
    wanted = Q(pk=None)
    for run_id, step in places:
        wanted |= Q(run_id=run_id, step__in={0, 0 if step is None else step})
    rows = JobStep.objects.filter(wanted).values_list("run_id", "step", "metrics")
    return {(run_id, step): metrics.get("validation") or {} for run_id, step, metrics in rows}


def _seconds(run_id: str, step: int) -> float:
    rows = Usage.objects.filter(run_id=run_id, step__lte=step)
    return float(rows.aggregate(total=Sum("seconds"))["total"] or 0.0)


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
