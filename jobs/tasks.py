"""Celery tasks: doorbells that carry an id. The lease decides whether there is work to do."""

from __future__ import annotations

import logging
import os
from ctypes import c_bool
from multiprocessing.sharedctypes import RawValue
from typing import Any

from celery import shared_task
from celery.signals import worker_shutting_down

from jobs.services.download import base_model_download
from jobs.services.exports import job_export
from jobs.supervisor.supervise import supervise
from jobs.workbench.work import comparison_work

log = logging.getLogger(__name__)

_stopping = RawValue(c_bool, False)
"""Shared between a worker and its pool processes: the worker was asked to end."""


@worker_shutting_down.connect  # type: ignore[untyped-decorator]
def _note_stopping(**kwargs: Any) -> None:
    """A run in progress is given back at once, so that another worker resumes it."""
    _stopping.value = True


def is_stopping() -> bool:
    """Whether this worker was asked to end."""
    return bool(_stopping.value)


@shared_task(name="jobs.train")  # type: ignore[untyped-decorator]
def train(run_id: str) -> str:
    """Take the lease of a run and work on it, or end at once where somebody else does."""
    outcome = supervise(run_id, stopping=is_stopping)
    log.info("%s: %s (process %s)", run_id, outcome, os.getpid())
    return outcome


@shared_task(name="jobs.download_model")  # type: ignore[untyped-decorator]
def download_model(model_id: int) -> None:
    """Fetch a base model from the hub."""
    base_model_download(model_id)


@shared_task(name="jobs.export_metrics")  # type: ignore[untyped-decorator]
def export_metrics(job_id: str) -> None:
    """Export the metrics of a job that has ended."""
    job_export(job_id)


@shared_task(name="jobs.compare")  # type: ignore[untyped-decorator]
def compare(comparison_id: str) -> None:
    """Grade stored trajectories for a while by the graders of a comparison."""
    comparison_work(comparison_id, stopping=is_stopping)
