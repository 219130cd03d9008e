"""The doorbell: a Celery task by name, with an id only, sent after commit."""

from __future__ import annotations

import logging

from django.db import transaction
from kombu.exceptions import OperationalError

from hone.celery import app

log = logging.getLogger(__name__)

TRAIN = "jobs.train"
DOWNLOAD = "jobs.download_model"


def ring(run_id: str) -> None:
    """Tell the training workers, once this transaction is committed, that a run wants to run."""
    transaction.on_commit(lambda: send(TRAIN, run_id))


def ring_download(model_id: int) -> None:
    """Tell a worker, once this transaction is committed, to fetch a model."""
    transaction.on_commit(lambda: send(DOWNLOAD, model_id))


def send(task: str, argument: str | int) -> bool:
    """Send now. A broker that is down costs seconds only: the sweeper rings again."""
    try:
        app.send_task(task, args=[argument], retry=False)
    except (OperationalError, OSError) as error:
        log.warning("The broker did not take %s for %s: %s", task, argument, error)
        return False
    return True
