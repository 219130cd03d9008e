"""Why a run ends early: each exception becomes one terminal event."""

from __future__ import annotations

from typing import Literal

PauseReason = Literal["asked", "tool_unavailable", "grader_unavailable", "disk_full", "too_slow"]


class RunFailed(Exception):
    """The run cannot go on. `permanent`: trying again would fail the same way."""

    def __init__(self, code: str, text: str, *, permanent: bool = True) -> None:
        super().__init__(text)
        self.code = code
        self.text = text
        self.permanent = permanent


class RunPaused(Exception):
    """The run stops cleanly after its last committed step and may be resumed."""

    def __init__(self, reason: PauseReason, text: str) -> None:
        super().__init__(text)
        self.reason = reason
        self.text = text


class RunCancelled(Exception):
    """The owner cancelled."""
