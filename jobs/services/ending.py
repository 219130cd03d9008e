"""How a holder ends its work on a run: finished, paused, cancelled or failed. Each is fenced."""

from __future__ import annotations

from typing import Any

from django.db import transaction

from jobs.engine import events
from jobs.errors import Fenced
from jobs.models import PROBED_PAUSES, Adapter, Desired, Job, PauseReason, Run, Status
from jobs.models.clock import seconds_from_now
from jobs.services.bell import ring
from jobs.services.lease import Lease, run_release
from jobs.services.plain import plain_text
from jobs.services.state import event_record, run_move
from jobs.services.tuning import periods

LOG_LINES = 100


def run_finish(lease: Lease, finished: events.Finished) -> None:
    """The run reached its end; the adapter is offered from now on."""
    with transaction.atomic():
        seconds = lease.engine_seconds + finished.seconds
        _move(lease, Status.SUCCEEDED, job_fields={"engine_seconds": seconds})
        adapter = finished.adapter
        if adapter is not None:
            Adapter.objects.create(
                job_id=lease.job_id,
                run_id=lease.run_id,
                step=adapter.step,
                path=adapter.path,
                sha256=adapter.sha256,
                bytes=adapter.bytes,
                proof_max_abs_logprob_diff=adapter.proof_max_abs_logprob_diff,
                proof_tokens=adapter.proof_tokens,
            )
        last_step = Job.objects.values_list("last_step", flat=True).get(pk=lease.job_id)
        _record(lease, "succeeded", f"The job succeeded after step {last_step}.")


def run_pause(lease: Lease, *, reason: str, text: str) -> None:
    """No engine is at work; a pause for the world's fault is looked at again later.

    Where a person asked and has taken it back since, the run is given back and goes on.
    """
    probe = seconds_from_now(periods().probe) if reason in PROBED_PAUSES else None
    with transaction.atomic():
        wanted = Run.objects.select_for_update().values_list("desired", flat=True)
        if reason == PauseReason.ASKED and wanted.get(pk=lease.run_id) == Desired.RUN:
            run_release(lease)
            ring(lease.run_id)
            return
        fields = {"pause_reason": reason, "pause_text": plain_text(text), "probe_at": probe}
        _move(lease, Status.PAUSED, run_fields=fields | {"progress": {}})
        if reason == PauseReason.ASKED:
            _record(lease, "paused", text or "Paused.")
        else:
            _record(lease, reason, text or "Paused.", "warn")


def run_cancel(lease: Lease) -> None:
    """The owner cancelled, and the engine has stopped."""
    with transaction.atomic():
        _move(lease, Status.CANCELLED)
        _record(lease, "cancelled", "The job was cancelled.")


def run_fail(lease: Lease, *, code: str, text: str, log: str = "") -> None:
    """The run cannot go on. The last lines of the engine's log are kept."""
    lines = "\n".join(plain_text(log).splitlines()[-LOG_LINES:])
    fields = {"error_code": code[:60], "error_message": plain_text(text), "error_log": lines}
    with transaction.atomic():
        _move(lease, Status.FAILED, job_fields=fields)
        _record(lease, code, text, "error")


def _move(
    lease: Lease,
    to: str,
    *,
    run_fields: dict[str, Any] | None = None,
    job_fields: dict[str, Any] | None = None,
) -> None:
    fields = {"pgid": None, "process_start": "", **(run_fields or {})}
    if not run_move(lease.run_id, to, epoch=lease.epoch, run_fields=fields, job_fields=job_fields):
        raise Fenced(lease.run_id, lease.epoch)


def _record(lease: Lease, code: str, text: str, level: str = "info") -> None:
    event_record(job_id=lease.job_id, run_id=lease.run_id, level=level, code=code, text=text)
