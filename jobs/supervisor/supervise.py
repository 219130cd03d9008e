"""One run from acquiring its lease to giving it back: the supervisor's main loop."""

from __future__ import annotations

import logging
import os
import queue
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import msgspec
from django.db import DatabaseError, InterfaceError, OperationalError, connection

from hone.core.disk import is_disk_full
from jobs.engine import events, spec
from jobs.errors import CannotStart, Fenced, MustPause
from jobs.models import PauseReason, RunKind, run_folder
from jobs.selectors.checkpoints import checkpoints_held
from jobs.services import artifacts, ending
from jobs.services.bell import ring
from jobs.services.checkpoints import CORRUPT, checkpoints_set_aside
from jobs.services.commit import step_commit, step_committed
from jobs.services.death import MOST_DEATHS, crash_loop_fail, run_note_death
from jobs.services.lease import (
    Lease,
    run_acquire,
    run_note_message,
    run_note_process,
    run_note_progress,
    run_release,
)
from jobs.services.tryouts import tryout_note_turns
from jobs.services.tuning import Periods, periods
from jobs.supervisor import playground, replay
from jobs.supervisor.handshake import handshake_build
from jobs.supervisor.heartbeat import Heartbeat
from jobs.supervisor.patience import Patience
from jobs.supervisor.process import (
    LOG_NAME,
    EngineProcess,
    host_identity,
    kill_stale_group,
    last_lines,
    process_start,
)

log = logging.getLogger(__name__)

Outcome = Literal["not acquired", "ended", "died", "released", "lost"]

POLL = 0.1
PROGRESS_EVERY = 0.5
DISK_FULL = (
    "The disk of the worker is full, so the step in hand was given up. Make room in its data "
    "folder: the job then goes on by itself."
)


def supervise(run_id: str, *, stopping: Callable[[], bool] = lambda: False) -> Outcome:
    """Work on a run until it ends, dies, is lost to another worker, or this worker must stop."""
    host = host_identity()
    lease = run_acquire(run_id, holder=f"{host}/{os.getpid()}", host=host)
    if lease is None:
        return "not acquired"
    timing = periods()
    heartbeat = Heartbeat(lease, timing)
    patience = Patience(lease, heartbeat, timing)
    heartbeat.start()
    try:
        try:
            return _work(lease, host, heartbeat, patience, timing, stopping)
        except Fenced:
            raise
        except Exception as error:
            # The last resort: no engine is left, and the job's owner must hear of it.
            log.exception("The work on %s ended", run_id)
            return _interrupted(lease, patience, error)
    except Fenced as error:
        log.warning("%s", error)
        return "lost"
    finally:
        heartbeat.stop()


def _work(
    lease: Lease,
    host: str,
    heartbeat: Heartbeat,
    patience: Patience,
    timing: Periods,
    stopping: Callable[[], bool],
) -> Outcome:
    if lease.stale_host == host:
        kill_stale_group(lease.stale_pgid, lease.stale_start)
    log_path = _log_path(lease)
    log_path.parent.mkdir(parents=True, exist_ok=True)
    if lease.deaths >= MOST_DEATHS:
        how = "the worker or the engine was killed"
        step, tail = lease.last_step + 1, last_lines(log_path)
        crash_loop_fail(lease, step=step, deaths=lease.deaths, how=how, log=tail)
        return "ended"
    try:
        handshake = patience.with_storage(lambda: handshake_build(lease))
    except CannotStart as error:
        ending.run_fail(lease, code=error.code, text=error.message)
        return "ended"
    engine = EngineProcess(handshake, log_path)
    heartbeat.on_loss(engine.kill)
    outcome: Outcome | None = None
    try:
        run_note_process(lease, pgid=engine.pid, process_start=process_start(engine.pid))
        outcome = _Watch(lease, engine, heartbeat, patience, timing, stopping).until_end()
        return outcome
    finally:
        engine.kill()
        # A holder that lost the run leaves the folder to the next one; a heartbeat that comes
        # after the end finds no lease either, and there is no next one then.
        if lease.kind == RunKind.REPLAY and (outcome == "ended" or not heartbeat.lost):
            replay.tidy(lease.run_id)
        if lease.kind == RunKind.PLAYGROUND and outcome == "ended":
            playground.tidy(lease.run_id)


def _interrupted(lease: Lease, patience: Patience, error: Exception) -> Outcome:
    """Say what ended the work, and let the run wait or be tried again accordingly."""
    match error:
        case MustPause():
            reason, text = error.reason, error.message
        case OSError() if is_disk_full(error):
            reason, text = PauseReason.DISK_FULL, DISK_FULL
        case OperationalError() | InterfaceError():
            # The database was away for a moment, which says nothing about the run.
            patience.write(lambda: run_release(lease, wait_s=periods().retry))
            return "released"
        case _:
            how, tail = f"{type(error).__name__}: {error}", last_lines(_log_path(lease))
            return _died(lease, patience, "worker", how, tail)
    patience.write(lambda: ending.run_pause(lease, reason=reason, text=text))
    return "ended"


def _died(
    lease: Lease, patience: Patience, who: Literal["engine", "worker"], how: str, tail: str
) -> Outcome:
    again = patience.write(lambda: run_note_death(lease, who=who, how=how, log=tail))
    return "died" if again else "ended"


def _log_path(lease: Lease) -> Path:
    return run_folder(lease.run_id) / LOG_NAME


class _Watch:
    """Reads the events of one engine and turns them into rows, until one of them is the last."""

    def __init__(
        self,
        lease: Lease,
        engine: EngineProcess,
        heartbeat: Heartbeat,
        patience: Patience,
        timing: Periods,
        stopping: Callable[[], bool],
    ) -> None:
        self._lease = lease
        self._engine = engine
        self._heartbeat = heartbeat
        self._patience = patience
        self._timing = timing
        self._stopping = stopping
        self._last_step = lease.last_step
        self._available: list[int] = []
        self._told = "run"
        self._deadline: float | None = None
        self._shown_at = 0.0

    def until_end(self) -> Outcome:
        """The main loop; the engine keeps what a resume needs from the first line on."""
        self._patiently(self._look)
        self._tell()
        while True:
            if self._heartbeat.lost:
                return "lost"
            if self._stopping():
                self._engine.kill()
                self._patiently(lambda: run_release(self._lease))
                ring(self._lease.run_id)
                return "released"
            self._relay()
            if self._deadline is not None and time.monotonic() > self._deadline:
                return self._overdue()
            try:
                event = self._engine.next_event(POLL)
            except queue.Empty:
                continue
            if event is None:
                return self._died(self._engine.kill())
            outcome = self._take(event)
            if outcome is not None:
                return outcome

    def _relay(self) -> None:
        desired = self._heartbeat.desired
        if desired == self._told:
            return
        self._told = desired
        self._tell()
        self._deadline = None if desired == "run" else time.monotonic() + self._timing.grace

    def _look(self) -> None:
        self._available = checkpoints_held(self._lease.run_id)

    def _tell(self) -> None:
        """What the owner wants, from which checkpoint on the engine must keep all, and which
        earlier ones it must keep."""
        message = {
            "desired": self._told,
            "committed": self._last_step,
            "available": self._available,
        }
        self._engine.send(msgspec.convert(message, spec.Control))

    def _overdue(self) -> Outcome:
        """The engine did not stop when asked: it is killed, and the last whole step stands."""
        self._engine.kill()
        if self._told == "cancel":
            self._patiently(lambda: ending.run_cancel(self._lease))
        else:
            self._patiently(lambda: ending.run_pause(self._lease, reason="asked", text=""))
        return "ended"

    def _take(self, event: events.Event) -> Outcome | None:
        match event:
            case events.StepDone():
                self._commit(event)
            case events.Progress():
                self._show(event)
            case events.TurnsSoFar():
                self._show_turns(event)
            case events.Started():
                self._patiently(lambda: run_note_message(self._lease, _started(event)))
            case events.Message():
                self._set_aside(event.code)
                self._patiently(lambda: run_note_message(self._lease, event))
            case events.Failed(permanent=False):
                note = events.Message(level="warn", text=event.text, code=event.code)
                self._patiently(lambda: run_note_message(self._lease, note))
                return self._died(self._engine.kill(), event.text)
            case _:
                return self._end(event)
        return None

    def _commit(self, done: events.StepDone) -> None:
        self._patience.with_storage(lambda: artifacts.step_upload(self._lease.run_id, done))

        def commit() -> None:
            if not step_committed(self._lease, done.step):
                step_commit(self._lease, done)
            self._look()

        self._patiently(commit)
        self._last_step = done.step
        if self._told == "run":
            self._tell()

    def _set_aside(self, code: str) -> None:
        if code == CORRUPT:
            self._patiently(lambda: checkpoints_set_aside(self._lease))

    def _show(self, progress: events.Progress) -> None:
        """Live progress is worth one write now and then, and none that has to wait."""
        now = time.monotonic()
        if now - self._shown_at < PROGRESS_EVERY:
            return
        self._shown_at = now
        try:
            run_note_progress(self._lease, progress)
        except (OperationalError, InterfaceError) as error:
            log.info("Progress of %s is not shown: %s", self._lease.run_id, error)
            connection.close()

    def _show_turns(self, event: events.TurnsSoFar) -> None:
        """As progress: the whole rollout comes with its step."""
        try:
            tryout_note_turns(self._lease, event)
        except (OperationalError, InterfaceError) as error:
            log.info("A turn of %s is not shown: %s", self._lease.run_id, error)
            connection.close()

    def _end(self, event: events.Event) -> Outcome:
        match event:
            case events.Finished():
                self._patience.with_storage(
                    lambda: artifacts.adapter_upload(self._lease.run_id, event)
                )
                self._patiently(lambda: ending.run_finish(self._lease, event))
            case events.ReplayDone():
                self._patiently(lambda: ending.replay_finish(self._lease, event))
            case events.Paused():
                self._patiently(
                    lambda: ending.run_pause(self._lease, reason=event.reason, text=event.text)
                )
            case events.Cancelled():
                self._patiently(lambda: ending.run_cancel(self._lease))
            case events.Failed():
                self._set_aside(event.code)
                tail = self._engine.last_lines()
                self._patiently(
                    lambda: ending.run_fail(self._lease, code=event.code, text=event.text, log=tail)
                )
        return "ended"

    def _died(self, status: int, why: str = "") -> Outcome:
        """The engine ended without a last word."""
        if self._heartbeat.lost:
            return "lost"
        if self._told == "cancel":
            return self._overdue()
        how = why or self._engine.garbage or _exit_text(status)
        return _died(self._lease, self._patience, "engine", how, self._engine.last_lines())

    def _patiently(self, write: Callable[[], object]) -> None:
        """Write, however long the database is away; what it refuses fails the run."""
        try:
            self._patience.write(write)
        except DatabaseError as error:
            ending.run_fail(
                self._lease,
                code="not_storable",
                text=f"What the engine reported could not be stored: {error}",
                log=self._engine.last_lines(),
            )
            raise Fenced(self._lease.run_id, self._lease.epoch) from error


WAYS_OF_SAMPLING = {
    "persistent_kv": "The cache of a conversation is kept from turn to turn.",
    "reprefill": "Every turn is computed from its first token: this model's attention cannot "
    "keep a cache from turn to turn, so its rollouts are slower.",
    "server": "A sampling server writes every turn, with the adapter that the job sends it.",
}


def _started(event: events.Started) -> events.Message:
    text = (
        f"Engine started on {event.device} ({event.dtype}), {event.trainable_parameters} of "
        f"{event.parameters} parameters trainable; next is step {event.first_step}. "
        f"{WAYS_OF_SAMPLING.get(event.sampler, '')}"
    ).rstrip()
    return events.Message(text=text, code="started")


def _exit_text(status: int) -> str:
    return f"killed by signal {-status}" if status < 0 else f"exit status {status}"
