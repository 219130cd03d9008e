"""What the supervisor wants: reads standard input in a thread and stops the run between phases."""

from __future__ import annotations

import asyncio
import os
import threading
from typing import BinaryIO

import msgspec

from jobs.engine.errors import RunCancelled, RunPaused
from jobs.engine.spec import Control, Desired

_FIRMNESS = {"run": 0, "pause": 1, "cancel": 2}


class ControlReader:
    """Follows the lines after the handshake. Without a supervisor the process ends at once.

    A wish to stop stays: by the time it is taken back the run is half stopped already, and the
    supervisor starts it again.
    """

    def __init__(self, stream: BinaryIO | None) -> None:
        self._stream = stream
        self._desired: Desired = "run"
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self.committed: int | None = None
        self.available: frozenset[int] | None = None

    def follow(self, task: asyncio.Task[None]) -> None:
        """From now on a wish to stop cancels `task` at its next await."""
        self._task, self._loop = task, asyncio.get_running_loop()
        if self._stream is not None:
            threading.Thread(target=self._read, name="control", daemon=True).start()

    def _read(self) -> None:
        assert self._stream is not None
        for line in self._stream:
            try:
                self.obey(msgspec.json.decode(line, type=Control))
            except msgspec.DecodeError:
                continue
        # The supervisor is gone, and with it everybody who could commit a step.
        os._exit(1)

    def obey(self, control: Control) -> None:
        if control.committed is not None:
            self.committed = control.committed
        if control.available is not None:
            self.available = frozenset(control.available)
        self._desired = max(self._desired, control.desired, key=lambda wish: _FIRMNESS[wish])
        if self._desired != "run" and self._task is not None and self._loop is not None:
            self._loop.call_soon_threadsafe(self._task.cancel)

    def check(self) -> None:
        """Raise if the run shall stop; called where nothing is half done."""
        if self._desired == "pause":
            raise RunPaused("asked", "Paused as asked.")
        if self._desired == "cancel":
            raise RunCancelled
