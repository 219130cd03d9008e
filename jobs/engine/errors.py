"""Why a run ends early: each exception becomes one terminal event."""

from __future__ import annotations

from typing import Literal

PauseReason = Literal[
    "asked",
    "tool_unavailable",
    "grader_unavailable",
    "sampler_unavailable",
    "disk_full",
    "too_slow",
]


class RunFailed(Exception):
    """The run cannot go on. `permanent`: trying again would fail the same way."""

    def __reduce__(self) -> tuple[object, ...]:
        return _failed, (self.code, self.text, self.permanent)

    def __init__(self, code: str, text: str, *, permanent: bool = True) -> None:
        super().__init__(text)
        self.code = code
        self.text = text
        self.permanent = permanent


def _failed(code: str, text: str, permanent: bool) -> RunFailed:
    """Errors travel between the processes of a run."""
    return RunFailed(code, text, permanent=permanent)


class RunPaused(Exception):
    """The run stops cleanly after its last committed step and may be resumed."""

    def __reduce__(self) -> tuple[object, ...]:
        return RunPaused, (self.reason, self.text)

    def __init__(self, reason: PauseReason, text: str) -> None:
        super().__init__(text)
        self.reason = reason
        self.text = text


class RunCancelled(Exception):
    """The owner cancelled."""
