"""What the engine of a preflight is told: the tasks that are still to be tried."""

from __future__ import annotations

from jobs.engine import spec
from jobs.models import JobStep, Preflight, Run, Trajectory

TRIES = 3
"""Slices that may be lost to an outage; the last one ends the preflight with what it found."""


def preflight_spec(run: Run) -> spec.PreflightSpec:
    """A task is done where a slice was committed that no outage made worthless."""
    preflight = Preflight.objects.get(job=run.job_id)
    lost = JobStep.objects.filter(run=run).exclude(metrics__preflight__lost="")
    again = list(lost.values_list("step", flat=True))
    done = Trajectory.objects.filter(run=run).exclude(step__in=again)
    tried = set(done.values_list("row", flat=True))
    return spec.PreflightSpec(
        rows=tuple(row for row in preflight.rows if row not in tried),
        attempts=preflight.attempts,
        is_last_try=len(again) + 1 >= TRIES,
    )
