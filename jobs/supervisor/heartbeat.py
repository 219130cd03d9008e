"""Keeps the lease, and stops the engine when that was not possible for too long.

Two threads: one talks to the database (and may hang there), the other only looks at the
monotonic clock and kills. Neither needs the main loop.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from django.db import DatabaseError, InterfaceError, connections

from jobs.services.lease import Lease, run_desired, run_renew
from jobs.services.tuning import Periods

log = logging.getLogger(__name__)

TICK = 0.05


class Heartbeat:
    """`desired` is what the owner wants; `lost` becomes true at most once and for good."""

    def __init__(self, lease: Lease, periods: Periods) -> None:
        self._lease = lease
        self._periods = periods
        self._renewed_at = time.monotonic()
        self._stop = threading.Event()
        self._lost = threading.Event()
        self._kill: Callable[[], object] = lambda: None
        self.desired = "run"
        self._threads = [
            threading.Thread(target=self._renew_loop, name="lease-renewal", daemon=True),
            threading.Thread(target=self._watch_loop, name="lease-watch", daemon=True),
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End both threads; does not wait for a database that hangs."""
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=1.0)

    def on_loss(self, kill: Callable[[], object]) -> None:
        """What to do, once, when the lease is lost."""
        self._kill = kill
        if self.lost:
            kill()

    @property
    def lost(self) -> bool:
        return self._lost.is_set()

    def _renew_loop(self) -> None:
        poll = min(1.0, self._periods.renew)
        try:
            while not self._stop.wait(poll):
                self._beat()
        finally:
            connections.close_all()

    def _beat(self) -> None:
        due = time.monotonic() - self._renewed_at >= self._periods.renew
        asked_at = time.monotonic()
        try:
            desired = run_renew(self._lease) if due else run_desired(self._lease)
        except (DatabaseError, InterfaceError) as error:
            log.warning("The lease of %s was not renewed: %s", self._lease.run_id, error)
            connections.close_all()
            return
        if desired is None:
            self._lose()
            return
        self.desired = desired
        if due:
            self._renewed_at = asked_at

    def _watch_loop(self) -> None:
        while not self._stop.wait(TICK):
            if time.monotonic() - self._renewed_at > self._periods.fence:
                self._lose()
                return

    def _lose(self) -> None:
        if not self._stop.is_set() and not self._lost.is_set():
            self._lost.set()
            log.info("This worker does not hold %s any more; no engine stays.", self._lease.run_id)
            self._kill()
