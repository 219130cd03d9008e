"""What a paused job's page says: who paused it or what it waits for, and what lets it go on."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from hone.core import figures
from jobs.models import PauseReason
from jobs.selectors.waits import Pause
from jobs.services.tuning import periods

ANSWERS: dict[str, str] = {
    PauseReason.TOOL_UNAVAILABLE: "the tool answers",
    PauseReason.GRADER_UNAVAILABLE: "the grader answers",
    PauseReason.SAMPLER_UNAVAILABLE: "the sampling server answers",
    PauseReason.DISK_FULL: "the disk has room again",
    PauseReason.STORAGE_UNAVAILABLE: "the file storage answers",
}


@dataclass(frozen=True)
class Halt:
    """The block of a paused job."""

    why: str
    text: str
    since: datetime | None
    goes_on: str


def halt(pause: Pause | None, *, may_write: bool) -> Halt | None:
    """None for a job that is not paused."""
    if pause is None:
        return None
    why = f"Paused by {pause.by}" if pause.by else str(PauseReason(pause.code).label)
    return Halt(why, pause.text, pause.since, _goes_on(pause, may_write=may_write))


def _goes_on(pause: Pause, *, may_write: bool) -> str:
    press = "Press Resume" if may_write else "A member can resume it"
    if pause.is_probed and pause.code in ANSWERS:
        return (
            f"The job tries every {periods().probe:g}{figures.THIN}s and goes on by itself when "
            f"{ANSWERS[pause.code]}. {press} to have it try at once."
        )
    if pause.code == PauseReason.ASKED:
        return f"{press}: it goes on from its last finished step."
    return f"It does not go on by itself. {press} once the cause is mended."
