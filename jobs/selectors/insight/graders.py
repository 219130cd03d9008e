"""How rewards came about over a window of steps: parts, second grader, errors, time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from graders.kinds.multi.formula import Formula, FormulaError
from jobs.engine.insight.sums import (
    added,
    correlation,
    deviation_of,
    mean_of,
    sketched_percentile,
)
from jobs.models import Job
from jobs.selectors.insight.window import Step, Window

DOMINATES = 0.8
"""A part that explains more of the reward's variance than this is flagged."""
STEADY = 0.02
"""A part whose standard deviation is below this tells no two attempts apart."""
STEP = 1e-4
SUSPECTS = 10

Figure = float | None


@dataclass(frozen=True)
class PartFigures:
    """One part of the reward. `weight`: how much the reward moves with it, at the means."""

    name: str
    mean: Figure
    deviation: Figure
    n: int
    explained: Figure
    weight: Figure
    held_out: Figure
    saturated_since: int | None
    values: tuple[Figure, ...]
    """Its mean at each step of the curve."""

    @property
    def dominates(self) -> bool:
        return self.explained is not None and self.explained > DOMINATES


@dataclass(frozen=True)
class GraderFigures:
    """Everything of the Graders tab that is a number; the held-out figures are of validations."""

    n: int
    graded: int
    reward: Figure
    deviation: Figure
    parts: list[PartFigures]
    parts_rest: int
    formula: str
    held_out: Figure
    held_out_mean: Figure
    held_out_n: int
    errors: dict[str, int]
    seconds: tuple[Figure, Figure, Figure]
    """p50, p95 and p99."""
    judges: dict[str, dict[str, float]]
    suspects: list[tuple[int, dict[str, Any]]]


def grader_figures(job: Job, window: Window) -> GraderFigures:
    """The sums of the window's training rollouts; of its validations where none trained."""
    train = [step.told("train", "graders") for step in window.steps]
    checked = [step.told("validation", "graders") for step in window.steps]
    rewarded = added(train if any(train) else checked)
    held = added(checked)
    total = added([*train, *checked])
    parts: dict[str, Any] = rewarded.get("parts") or {}
    means = {name: mean_of(sums["reward"]) for name, sums in parts.items()}
    text = formula_of(job)
    rewards: dict[str, float] = next((sums["reward"] for sums in parts.values()), {})
    seconds = total.get("seconds") or {}
    return GraderFigures(
        n=rewarded.get("n", 0),
        graded=rewarded.get("graded", 0),
        reward=mean_of(rewards, "y"),
        deviation=deviation_of(rewards, "y"),
        parts=[
            _part(name, sums, (held.get("parts") or {}).get(name), text, means, window.curve)
            for name, sums in sorted(parts.items())
        ],
        parts_rest=max(
            (int(told.get("parts_rest") or 0) for told in (*train, *checked)), default=0
        ),
        formula=text,
        held_out=correlation(held.get("held_out") or {}),
        held_out_mean=mean_of(held.get("held_out") or {}, "y"),
        held_out_n=(held.get("held_out") or {}).get("n", 0),
        errors=total.get("errors") or {},
        seconds=(
            sketched_percentile(seconds, 50),
            sketched_percentile(seconds, 95),
            sketched_percentile(seconds, 99),
        ),
        judges=added(step.of("judges") or {} for step in window.steps),
        suspects=_suspects(window.steps),
    )


def formula_of(job: Job) -> str:
    """How a multi grader makes one reward of its parts; empty for others and for deleted ones."""
    version = job.grader_version
    if version is None or version.spec.get("type") != "multi":
        return ""
    return str(version.spec.get("calculate_output", ""))


def weight_in(formula: str, name: str, means: dict[str, Figure]) -> Figure:
    """By how much the formula's value moves for one unit of a part, at the parts' means.

    For a weighted sum that is the weight itself. None where the formula has no value there.
    """
    if not formula or any(mean is None for mean in means.values()):
        return None
    at = {key: float(mean or 0.0) for key, mean in means.items()}
    try:
        compiled = Formula(formula, set(at))
        above = compiled.value({**at, name: at[name] + STEP})
        below = compiled.value({**at, name: at[name] - STEP})
    except FormulaError:
        return None
    return (above - below) / (2 * STEP)


def _part(
    name: str,
    sums: dict[str, Any],
    held: dict[str, Any] | None,
    formula: str,
    means: dict[str, Figure],
    curve: Sequence[Step],
) -> PartFigures:
    with_reward = correlation(sums["reward"])
    return PartFigures(
        name=name,
        mean=means[name],
        deviation=deviation_of(sums["reward"]),
        n=sums["reward"].get("n", 0),
        explained=None if with_reward is None else with_reward**2,
        weight=weight_in(formula, name, means),
        held_out=correlation(held["held_out"]) if held else None,
        saturated_since=_steady_since(name, curve),
        values=tuple(_mean_at(step, name) for step in curve),
    )


def _mean_at(step: Step, name: str) -> Figure:
    sums = step.told("train", "graders", "parts", name, "reward")
    return mean_of(sums) if sums else step.figure("train", "parts", name)


def _steady_since(name: str, curve: Sequence[Step]) -> int | None:
    """The first step from which on the part told no two attempts apart, up to the newest."""
    since = None
    for step in reversed(curve):
        deviation = deviation_of(step.told("train", "graders", "parts", name, "reward"))
        if deviation is None:
            continue
        if deviation >= STEADY:
            break
        since = step.number
    return since


def _suspects(steps: Iterable[Step]) -> list[tuple[int, dict[str, Any]]]:
    found = [
        (step.number, each)
        for step in steps
        for each in step.told("validation", "graders").get("suspects") or []
    ]
    return sorted(found, key=lambda item: (-item[1]["reward"], item[1]["held_out"]))[:SUSPECTS]
