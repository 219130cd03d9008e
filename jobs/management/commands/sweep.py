"""`manage.py sweep`: rings for runs whose worker is gone, settles and wakes paused ones."""

from __future__ import annotations

import logging
import signal
import threading
import time
from argparse import ArgumentParser
from pathlib import Path
from types import FrameType
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError, InterfaceError, connection

from hone.datasets.services.sweep import datasets_sweep
from hone.tools.services import mcp_servers_due, tool_checks_due
from jobs.services.sweep import sweep
from jobs.services.tuning import periods
from jobs.workbench.work import comparisons_ring

log = logging.getLogger(__name__)


class Command(BaseCommand):
    help = "Every few seconds, ring for runs that nobody works on. Safe to run more than once."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--once", action="store_true", help="look once and end")
        parser.add_argument(
            "--healthy", action="store_true", help="fail if the sweeper of this host stands still"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["once"]:
            swept = sweep()
            self.stdout.write(
                f"rung {swept.rung}, settled {swept.settled}, woken {swept.woken}, "
                f"downloads {swept.downloads}"
            )
            return
        if options["healthy"]:
            self._check()
            return
        ended = threading.Event()

        def end(number: int, frame: FrameType | None) -> None:
            ended.set()

        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, end)
        while not ended.is_set():
            look()
            ended.wait(periods().sweep)

    def _check(self) -> None:
        try:
            age = time.time() - beat_file().stat().st_mtime
        except FileNotFoundError as error:
            raise CommandError("No sweep has ended yet on this data folder.") from error
        if age > 6 * periods().sweep:
            raise CommandError(f"The last sweep ended {age:.0f} s ago. Start `manage.py sweep`.")
        self.stdout.write(f"The last sweep ended {age:.0f} s ago.")


def look() -> None:
    """Sweep once. What is away now may be back at the next look, so nothing ends the sweeper."""
    try:
        sweep()
        beat_file().touch()
        datasets_sweep()
        tool_checks_due()
        mcp_servers_due()
        comparisons_ring()
    except (DatabaseError, InterfaceError) as error:
        log.warning("The database did not answer the sweep: %s", error)
        connection.close()
    except OSError as error:
        log.warning("The sweep broke off: %s. Check %s.", error, settings.DATA_DIR)


def beat_file() -> Path:
    """Touched after each sweep."""
    return Path(settings.DATA_DIR) / "sweeper.beat"
