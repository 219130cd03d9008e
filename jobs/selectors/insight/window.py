"""The steps that a tab sums up, and those that its curves are drawn from: few, however many exist.

A step's row holds bounded sums (`jobs.engine.insight`), so a page reads at most some hundred rows.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.db.models import Q, Subquery

from jobs.models import Checkpoint, Job, JobStep, Run, RunKind, Trajectory

USUAL_STEPS = 20
MOST_STEPS = 200
CURVE_STEPS = 100

Key = tuple[int, str, str]
"""Step, split and uid of a trajectory."""


@dataclass(frozen=True)
class Step:
    """One committed step's metrics."""

    number: int
    metrics: dict[str, Any]

    def of(self, *path: str) -> Any:
        """What lies at this path; None where the step does not tell."""
        value: Any = self.metrics
        for name in path:
            value = value.get(name) if isinstance(value, dict) else None
        return value

    def told(self, *path: str) -> dict[str, Any]:
        """The same where it is a mapping; empty where the step does not tell."""
        value = self.of("insight", *path)
        return value if isinstance(value, dict) else {}

    def figure(self, *path: str) -> float | None:
        """The same where it is a number."""
        value = self.of(*path)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return float(value) if is_number else None


@dataclass(frozen=True)
class Window:
    """`steps` are summed up; `curve` are spread evenly over the whole training, oldest first.

    `base` and `evaluated`: step 0 and the newest step with a validation, where they exist.
    """

    steps: tuple[Step, ...]
    curve: tuple[Step, ...]
    base: Step | None
    evaluated: Step | None
    focus: int | None
    wanted: int
    last: int

    @property
    def is_thinned(self) -> bool:
        """Whether the curves leave out steps."""
        return self.last >= CURVE_STEPS

    @property
    def trained(self) -> tuple[Step, ...]:
        """Those of the window that trained."""
        return tuple(step for step in self.steps if step.of("train"))

    @property
    def unrecorded(self) -> int:
        """How many of the window's steps were made before such sums were kept."""
        return sum(not step.told() for step in self.steps)


def insight_window(job: Job, *, step: int | None, last: int) -> Window:
    """The focus step, or the last steps; two queries."""
    newest = job.last_step
    rows = JobStep.objects.filter(run_id=_run_of(job))
    # Asking the metrics which steps evaluated would read all of them.
    marks = Checkpoint.objects.filter(run_id=_run_of(job), validation_reward__isnull=False)
    evaluated = marks.order_by("-step").values_list("step", flat=True).first() or 0
    first = max(0, newest - last + 1)
    inside = Q(step=step) if step is not None else Q(step__gte=first)
    spread = _spread(newest)
    wanted = rows.filter(inside | Q(step__in={*spread, 0, evaluated}))
    found = {
        number: Step(number, metrics)
        for number, metrics in wanted.order_by("step").values_list("step", "metrics")
    }
    chosen = [n for n in found if (n == step if step is not None else n >= first)]
    return Window(
        steps=tuple(found[number] for number in chosen),
        curve=tuple(found[number] for number in spread if number in found),
        base=found.get(0),
        evaluated=found.get(evaluated),
        focus=step,
        wanted=last,
        last=newest,
    )


def _run_of(job: Job) -> Subquery:
    """The job's one training run, so that its steps are read in the order of their index."""
    return Subquery(Run.objects.filter(job=job, kind=RunKind.TRAIN).values("pk")[:1])


def _spread(newest: int) -> list[int]:
    if newest < CURVE_STEPS:
        return list(range(newest + 1))
    return sorted({round(at * newest / (CURVE_STEPS - 1)) for at in range(CURVE_STEPS)})


def trajectory_ids(job: Job, keys: Iterable[Key]) -> dict[Key, int]:
    """Where the named trajectories are; those that are gone are left out. One query."""
    wanted = set(keys)
    if not wanted:
        return {}
    rows = Trajectory.objects.filter(
        run_id=_run_of(job),
        step__in={step for step, _, _ in wanted},
        uid__in={uid for _, _, uid in wanted},
    )
    found = rows.values_list("step", "split", "uid", "pk")
    return {
        (step, split, uid): pk for step, split, uid, pk in found if (step, split, uid) in wanted
    }


def settings_of(job: Job) -> dict[str, Any]:
    """What the job's settings became, by name."""
    return {each["name"]: each.get("value") for each in job.spec.get("settings") or []}
