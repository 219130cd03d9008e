"""Celery tasks: an id each; the row says whether there is work to do."""

from __future__ import annotations

import logging

from celery import shared_task

from hone.datasets.services.looking import findings_make
from hone.datasets.services.taking_in import intake_run

log = logging.getLogger(__name__)


@shared_task(name="datasets.take_in")  # type: ignore[untyped-decorator]
def take_in(intake_id: str) -> None:
    """Check a file that arrived and make a version of it."""
    log.info("%s: %s", intake_id, intake_run(intake_id) or "somebody else's")


@shared_task(name="datasets.find")  # type: ignore[untyped-decorator]
def find(version_id: str) -> None:
    """Make the background report of a version."""
    log.info("%s: %s", version_id, "looked through" if findings_make(version_id) else "known")
