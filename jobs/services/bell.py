"""The doorbell: a Celery task by name, with an id only, sent after commit."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from django.conf import settings
from django.db import transaction
from kombu.exceptions import ChannelError, OperationalError

from hone.celery import app

log = logging.getLogger(__name__)

TRAIN = "jobs.train"
DOWNLOAD = "jobs.download_model"
EXPORT = "jobs.export_metrics"
TRAIN_QUEUE = "train"
MOST_BELLS = 8
"""The sweeper lets no more bells than this wait. More idle workers are told one sweep later."""


def ring(run_id: str) -> None:
    """Tell the training workers, once this transaction is committed, that a run wants to run."""
    transaction.on_commit(lambda: send(TRAIN, run_id))


def ring_download(model_id: int) -> None:
    """Tell a worker, once this transaction is committed, to fetch a model."""
    transaction.on_commit(lambda: send(DOWNLOAD, model_id))


def ring_export(job_id: str) -> None:
    """Tell a worker, once this transaction is committed, to export a job's metrics.

    Only where a tracker is turned on. A bell that is lost is rung by `manage.py export_metrics`.
    """
    if settings.EXPORTS:
        transaction.on_commit(lambda: send(EXPORT, job_id))


def ring_missing(run_ids: Sequence[str]) -> int:
    """Ring for the first of these runs, unless so many bells wait already that all are told of.

    A bell that waits means that no worker is free to answer it: another would only pile up in
    front of the bells of new jobs. A bell that was lost does not wait, so it is rung again.
    """
    waiting = _bells_waiting() if run_ids else None
    if waiting is None:
        return 0
    missing = min(MOST_BELLS, len(run_ids)) - waiting
    return sum(send(TRAIN, run_id) for run_id in run_ids[: max(0, missing)])


def _bells_waiting() -> int | None:
    """None where the broker does not answer."""
    connection = app.connection_for_write()
    try:
        with connection, connection.channel() as channel:
            queue = app.amqp.queues[TRAIN_QUEUE](channel)
            return int(queue.queue_declare(passive=True).message_count)
    except ChannelError:
        # Redis has no list, and so no queue, where no message waits.
        return 0
    except (OperationalError, *connection.connection_errors) as error:
        log.warning("The broker did not say how many bells wait: %s", error)
        return None


def send(task: str, argument: str | int) -> bool:
    """Send now. A broker that is down costs seconds only: the sweeper rings again."""
    try:
        app.send_task(task, args=[argument], retry=False)
    except (OperationalError, OSError) as error:
        log.warning("The broker did not take %s for %s: %s", task, argument, error)
        return False
    return True
