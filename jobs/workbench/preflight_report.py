"""The report of a preflight: its rows read, and figures, estimate and advice made of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.conf import settings

from jobs.models import Job, JobStep, Preflight, Run, RunKind, Status, Trajectory
from jobs.workbench.preflight_advice import Trouble, Verdict, verdict_of
from jobs.workbench.preflight_estimate import (
    Estimate,
    Plan,
    Speed,
    Tuning,
    estimate,
    speed_of,
    tuning,
)
from jobs.workbench.preflight_figures import PASS_LINE, Attempt, Figures, figures_of

_TROUBLES = ("tool_unavailable", "grader_unavailable", "grader_failed")


@dataclass(frozen=True)
class Report:
    """Everything that the page says; parts are None while nothing is known of them."""

    figures: Figures
    verdict: Verdict | None
    estimate: Estimate | None
    tuning: Tuning | None
    speed: Speed
    refused: str
    """Why no update could be made, as where memory ran out."""
    hour_price: float | None
    currency: str
    tasks_done: int
    tasks_wanted: int


def preflight_report(job: Job, run: Run | None = None) -> Report:
    """Of what is committed so far; a slice that was lost counts until it is tried again."""
    run = run or Run.objects.get(job=job, kind=RunKind.PREFLIGHT)
    steps = list(JobStep.objects.filter(run=run).order_by("step"))
    attempts, used = _attempts(run)
    figures = figures_of(
        attempts,
        pass_line=_pass_line(job),
        tools=[_tools(step) for step in steps if step.step in used],
    )
    speed = speed_of([step.metrics for step in steps if not step.metrics["preflight"]["lost"]])
    plan, price = Plan.of_spec(job.spec), settings.HOUR_PRICE
    return Report(
        figures=figures,
        verdict=verdict_of(figures, _trouble(run, steps)),
        estimate=estimate(plan, speed, figures.signal, hour_price=price),
        tuning=tuning(plan, speed, figures, hour_price=price),
        speed=speed,
        refused=_refused(steps),
        hour_price=price,
        currency=settings.CURRENCY,
        tasks_done=len(figures.tasks),
        tasks_wanted=len(job.preflight.rows),
    )


def verdict_note(job_id: str) -> None:
    """Write the verdict down for lists, in the transaction that commits a slice."""
    verdict = preflight_report(Job.objects.get(pk=job_id)).verdict
    Preflight.objects.filter(job=job_id).update(verdict=verdict.title if verdict else "")


def _attempts(run: Run) -> tuple[list[Attempt], set[int]]:
    """Of each task those of the last slice that tried it, and which slices these are."""
    rows = Trajectory.objects.filter(run=run).only(
        "step",
        "row",
        "reward",
        "stop",
        "packed_flags",
        "tokens",
        "total_tokens",
        "seconds",
        "cause",
    )
    newest: dict[int, int] = {}
    for row in (found := list(rows)):
        newest[row.row] = max(newest.get(row.row, 0), row.step)
    attempts = [
        Attempt(
            row=row.row,
            reward=row.reward,
            stop=row.stop,
            flags=frozenset(row.flags),
            tokens=row.tokens,
            total_tokens=row.total_tokens,
            seconds=row.seconds,
            cause=row.cause,
        )
        for row in found
        if row.step == newest[row.row]
    ]
    return attempts, set(newest.values())


def _tools(step: JobStep) -> dict[str, Any]:
    return step.metrics["preflight"].get("tools") or {}


def _trouble(run: Run, steps: list[JobStep]) -> Trouble:
    """What the run waits for, or what its last slice was lost to."""
    if run.status == Status.PAUSED and run.pause_reason in _TROUBLES:
        return Trouble(run.pause_reason, run.pause_text)  # type: ignore[arg-type]
    last = steps[-1].metrics["preflight"] if steps else {}
    if last.get("lost"):
        return Trouble(last["lost"], last["lost_text"])
    return Trouble()


def _pass_line(job: Job) -> float:
    spec = job.grader_version.spec if job.grader_version else {}
    line = spec.get("pass_threshold")
    return PASS_LINE if line is None else float(line)


def _refused(steps: list[JobStep]) -> str:
    told = [(step.metrics.get("trial") or {}).get("refused", "") for step in steps]
    return next((text for text in told if text), "")
