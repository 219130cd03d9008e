"""The doorbell of this app: a Celery task by name, with an id only, sent after commit."""

from __future__ import annotations

import logging

from django.db import transaction
from kombu.exceptions import OperationalError

from hone.celery import app

log = logging.getLogger(__name__)

CHECK = "tools.check"
LIST_SERVER = "tools.list_server"


def ring(task: str, argument: str | int) -> None:
    """Tell a worker once this transaction is committed; the sweeper rings again if it is lost."""
    transaction.on_commit(lambda: _send(task, argument))


def _send(task: str, argument: str | int) -> None:
    try:
        app.send_task(task, args=[argument], retry=False)
    except (OperationalError, OSError) as error:
        log.warning("The broker did not take %s for %s: %s", task, argument, error)
