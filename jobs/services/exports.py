"""A job's metrics go to the trackers that the operator turned on; a failure is only an event."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from django.conf import settings

from hone.core.errors import UserError
from jobs.exports.base import ExportedJob, ExportedStep
from jobs.exports.flatten import flattened
from jobs.exports.registry import EXPORTERS
from jobs.models import Job, JobStep, RunKind
from jobs.selectors.compare.differences import flattened as spec_fields
from jobs.services.state import event_record

AT_ONCE = 500
LONGEST_S = 3600
LONGEST_REASON = 300


def metrics_export(job: Job, name: str) -> str:
    """Write every committed step of a job by one library; returns where, in words."""
    exporter = EXPORTERS.get(name)
    if exporter is None:
        raise UserError(
            f"{name[:80]!r} is no tracker. Known are {', '.join(EXPORTERS)}.", code="export_unknown"
        )
    if not job.trains:
        raise UserError(
            f"{job.name} is a {job.noun}: it trained nothing, so there are no metrics to export.",
            code="export_preflight",
        )
    exported = ExportedJob(job.pk, job.name, spec_fields(job), _steps(job))
    return exporter.write(exported, Path(settings.EXPORT_DIR))


def _steps(job: Job) -> Iterator[ExportedStep]:
    rows = JobStep.objects.filter(run__job=job, run__kind=RunKind.TRAIN).order_by("step")
    for row in rows.iterator(chunk_size=AT_ONCE):
        yield ExportedStep(row.step, row.created_at, flattened(row.metrics))


def job_export(job_id: str) -> None:
    """After a job's end: each tracker in a process of its own, and an event for each.

    The libraries start threads and helpers of their own, which a worker is better without.
    """
    for name in settings.EXPORTS:
        reason = _exported(job_id, name)
        if reason:
            event_record(
                job_id=job_id,
                level="warn",
                code="export_failed",
                text=f"The metrics were not exported to {name}: {reason} The job is not affected.",
            )
        else:
            text = f"The metrics were exported to {name}."
            event_record(job_id=job_id, code="exported", text=text)


def _exported(job_id: str, name: str) -> str:
    """Why it failed; empty where it did not."""
    command = [sys.executable, "-m", "django", "export_metrics", job_id, "--to", name]
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "hone.settings"}
    try:
        ran = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=LONGEST_S
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{type(error).__name__}. Run `manage.py export_metrics {job_id}` by hand."
    if ran.returncode == 0:
        return ""
    last = (ran.stderr.strip().splitlines() or ["it ended without a word."])[-1]
    said = last.removeprefix("CommandError: ")[:LONGEST_REASON]
    return said if said.endswith(".") else f"{said}."
