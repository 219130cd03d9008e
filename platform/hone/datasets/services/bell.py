"""Workers are told of work by a Celery task with an id; the sweeper tells them again."""

from __future__ import annotations

import logging

from kombu.exceptions import OperationalError

from hone.celery import app

log = logging.getLogger(__name__)

TAKE_IN = "datasets.take_in"
FIND = "datasets.find"


def send(task: str, row_id: str) -> bool:
    """Send now, that is after the transaction. A broker that is down costs seconds only."""
    try:
        app.send_task(task, args=[row_id], retry=False)
    except (OperationalError, OSError) as error:
        log.warning("The broker did not take %s for %s: %s", task, row_id, error)
        return False
    return True
