"""An engine or a worker failed while it held a run: try again, but not for ever at one step."""

from __future__ import annotations

from typing import Literal

from django.db import transaction

from jobs.models import Run, RunKind
from jobs.services.bell import ring
from jobs.services.ending import run_fail
from jobs.services.lease import Lease, fence, run_release
from jobs.services.state import event_record
from jobs.services.tuning import periods

MOST_DEATHS = 3
WORDS = {"engine": "The engine ended", "worker": "The worker failed"}


def run_note_death(lease: Lease, *, who: Literal["engine", "worker"], how: str, log: str) -> bool:
    """Note what ended the work and give the run back after a wait; True where it is tried again.

    Where it died too often at one step, the run fails with the cause.
    """
    with transaction.atomic():
        # Fence first: the figures below are those of this holder's run.
        fence(lease, epoch=lease.epoch)
        last_step, before = Run.objects.values_list("last_step", "deaths").get(pk=lease.run_id)
        deaths = before + 1
        if deaths >= MOST_DEATHS:
            crash_loop_fail(lease, step=last_step + 1, deaths=deaths, how=how, log=log)
            return False
        event_record(
            job_id=lease.job_id,
            run_id=lease.run_id,
            level="warn",
            code=f"{who}_died",
            text=f"{WORDS[who]} in {_what(lease, last_step + 1)} ({how}). It starts again.",
        )
        wait_s = periods().retry * 2 ** (deaths - 1)
        run_release(lease, died=True, wait_s=wait_s)
        if not wait_s:
            ring(lease.run_id)
    return True


def crash_loop_fail(lease: Lease, *, step: int, deaths: int, how: str, log: str) -> None:
    """Give up at a step that was begun too often."""
    what = _what(lease, step)
    begun = f"{what[0].upper()}{what[1:]} was begun {deaths} times and never finished: {how}."
    run_fail(lease, code="crash_loop", text=f"{begun} {_way_out(lease)}", log=log)


def _what(lease: Lease, step: int) -> str:
    match lease.kind:
        case RunKind.REPLAY:
            return "a measurement"
        case RunKind.PLAYGROUND:
            return f"side {'AB'[step]}"
    return f"step {step}"


def _way_out(lease: Lease) -> str:
    below = "The last lines of the engine's log are below."
    match lease.kind:
        case RunKind.REPLAY:
            return f"The engine's log is with the operator, in runs/{lease.run_id}/engine.log."
        case RunKind.PLAYGROUND:
            return f"{below} Try it with fewer tokens, or with a smaller model."
    return f"{below} Clone the job with what they ask for changed."
