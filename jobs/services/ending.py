"""How a holder ends its work on a run: finished, paused, cancelled or failed. Each is fenced."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.db.models.functions import Now

from jobs.engine import events
from jobs.errors import Fenced
from jobs.models import (
    PROBED_PAUSES,
    Adapter,
    Checkpoint,
    Desired,
    Job,
    PauseReason,
    Replay,
    Run,
    RunKind,
    Status,
    Usage,
)
from jobs.models.clock import seconds_from_now
from jobs.models.trajectory import packed
from jobs.services.bell import ring
from jobs.services.lease import Lease, run_release
from jobs.services.plain import plain, plain_text
from jobs.services.state import event_record, last_step, run_move
from jobs.services.tuning import periods

LOG_LINES = 100
SUBJECTS: dict[str, str] = {
    RunKind.REPLAY: "A measurement",
    RunKind.PREFLIGHT: "The preflight",
    RunKind.PLAYGROUND: "The try",
}


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
                base_max_abs_logprob_diff=adapter.base_max_abs_logprob_diff,
            )
            # The engine read it back against its manifest before it exported it.
            exported = Checkpoint.objects.filter(run=lease.run_id, step=adapter.step)
            exported.update(verified_at=Now())
        last_step = Job.objects.values_list("last_step", flat=True).get(pk=lease.job_id)
        trains = lease.kind not in {RunKind.PREFLIGHT, RunKind.PLAYGROUND}
        after = f" after step {last_step}" if trains else ""
        _record(lease, "succeeded", f"{subject(lease.kind)} succeeded{after}.")


def replay_finish(lease: Lease, done: events.ReplayDone) -> None:
    """A replay's end and its result, once or not at all; nothing of the job moves."""
    low, high = done.interval or (None, None)
    with transaction.atomic():
        _move(lease, Status.SUCCEEDED, run_fields={"progress": {}})
        found = Replay.objects.filter(
            run_id=lease.run_id, trajectory__uid=done.uid, turn=done.turn
        ).update(
            delta=done.delta,
            low=low,
            high=high,
            n=done.n,
            unusable=done.unusable,
            reason=plain_text(done.reason),
            weights_step=done.weights_step,
            cost=plain(done.cost),
            packed_tools=plain_text(packed(done.tools))[:2000],
        )
        if not found:
            raise ValueError(f"the engine measured turn {done.turn} of {done.uid} instead")
        Usage.objects.create(
            run_id=lease.run_id,
            step=0,
            rollouts=done.cost.get("rollouts", 0),
            sampled_tokens=done.cost.get("sampled_tokens", 0),
            tool_calls=done.cost.get("tool_calls", 0),
            seconds=done.cost.get("seconds", 0.0),
            judge_calls=done.cost.get("judge_calls", 0),
            judge_tokens=done.cost.get("judge_tokens", 0),
            judge_cost=done.cost.get("judge_cost", 0.0),
        )
        outcome = "no estimate" if done.delta is None else f"a change of value of {done.delta:+.2f}"
        text = f"Turn {done.turn + 1} of {done.uid} was measured by continuations: {outcome}."
        _record(lease, "replayed", text)


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
        said = text or "Paused."
        if lease.kind == RunKind.REPLAY:
            said = f"A measurement waits: {said}"
        if reason == PauseReason.ASKED:
            _record(lease, "paused", said, step=last_step(lease.run_id))
        else:
            _record(lease, reason, said, "warn", step=last_step(lease.run_id))


def run_cancel(lease: Lease) -> None:
    """The owner cancelled, and the engine has stopped."""
    with transaction.atomic():
        _move(lease, Status.CANCELLED)
        _record(lease, "cancelled", f"{subject(lease.kind)} was cancelled.")


def subject(kind: str) -> str:
    """What sentences about a run of this kind begin with."""
    return SUBJECTS.get(kind, "The job")


def run_fail(lease: Lease, *, code: str, text: str, log: str = "") -> None:
    """The run cannot go on. The last lines of the engine's log are kept."""
    lines = "\n".join(plain_text(log).splitlines()[-LOG_LINES:])
    fields = {"error_code": code[:60], "error_message": plain_text(text), "error_log": lines}
    with transaction.atomic():
        _move(lease, Status.FAILED, job_fields=fields)
        if lease.kind == RunKind.REPLAY:
            Replay.objects.filter(run_id=lease.run_id).update(reason=plain_text(text))
            _record(lease, code, f"A measurement failed: {text}", "warn")
        else:
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


def _record(
    lease: Lease, code: str, text: str, level: str = "info", *, step: int | None = None
) -> None:
    event_record(
        job_id=lease.job_id, run_id=lease.run_id, level=level, code=code, text=text, step=step
    )
