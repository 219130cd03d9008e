"""Waits for what is away: the database while the lease holds, the storage for as long as one."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from django.db import InterfaceError, OperationalError, connection

from jobs.errors import Fenced, MustPause, StorageFailed
from jobs.models import PauseReason
from jobs.services.lease import Lease
from jobs.services.tuning import Periods
from jobs.supervisor.heartbeat import Heartbeat

log = logging.getLogger(__name__)

RETRY_PAUSE = 0.2

T = TypeVar("T")


class Patience:
    """What one holder of a lease may wait for; raises Fenced once the lease is lost."""

    def __init__(self, lease: Lease, heartbeat: Heartbeat, timing: Periods) -> None:
        self._lease = lease
        self._heartbeat = heartbeat
        self._timing = timing

    def write(self, write: Callable[[], T]) -> T:
        """Write to the database. `write` may have been done although it seemed to fail."""
        while True:
            try:
                return write()
            except (OperationalError, InterfaceError) as error:
                log.warning("Trying again to write for %s: %s", self._lease.run_id, error)
                connection.close()
            self._wait()

    def with_storage(self, act: Callable[[], T]) -> T:
        """Move files; raises MustPause where the storage is away for longer than a lease.

        Whatever an engine has made waits meanwhile; after that its machine is better given free.
        """
        deadline = time.monotonic() + self._timing.lease
        while True:
            try:
                return act()
            except StorageFailed as error:
                log.warning("Trying the storage again for %s: %s", self._lease.run_id, error)
                if time.monotonic() > deadline:
                    raise _storage_pause(error) from error
            self._wait()

    def _wait(self) -> None:
        if self._heartbeat.lost:
            raise Fenced(self._lease.run_id, self._lease.epoch)
        time.sleep(RETRY_PAUSE)


def _storage_pause(error: StorageFailed) -> MustPause:
    return MustPause(
        PauseReason.STORAGE_UNAVAILABLE,
        f"The file storage does not answer ({error}). The job goes on by itself once it does; the "
        "operator finds its settings in HONE_STORAGE_BACKEND and HONE_STORAGE_OPTIONS.",
    )
