"""One run from acquiring its lease to giving it back: the supervisor's main loop."""

from __future__ import annotations

import logging
import os
import queue
import time
from collections.abc import Callable
from typing import Literal

import msgspec
from django.db import DatabaseError, InterfaceError, OperationalError, connection

from jobs.engine import events, spec
from jobs.errors import CannotStart, Fenced
from jobs.models import run_folder
from jobs.services import artifacts, ending
from jobs.services.bell import ring
from jobs.services.commit import step_commit, step_committed
from jobs.services.lease import (
    Lease,
    run_acquire,
    run_note_message,
    run_note_process,
    run_note_progress,
    run_release,
)
from jobs.services.tuning import Periods, periods
from jobs.supervisor.handshake import handshake_build
from jobs.supervisor.heartbeat import Heartbeat
from jobs.supervisor.process import EngineProcess, host_identity, kill_stale_group, process_start

log = logging.getLogger(__name__)

Outcome = Literal["not acquired", "ended", "died", "released", "lost"]

MOST_DEATHS = 3
POLL = 0.1
PROGRESS_EVERY = 0.5
RETRY_PAUSE = 0.2


def supervise(run_id: str, *, stopping: Callable[[], bool] = lambda: False) -> Outcome:
    """Work on a run until it ends, dies, is lost to another worker, or this worker must stop."""
    host = host_identity()
    lease = run_acquire(run_id, holder=f"{host}/{os.getpid()}", host=host)
    if lease is None:
        return "not acquired"
    timing = periods()
    heartbeat = Heartbeat(lease, timing)
    heartbeat.start()
    try:
        return _work(lease, host, heartbeat, timing, stopping)
    except Fenced as error:
        log.warning("%s", error)
        return "lost"
    finally:
        heartbeat.stop()


def _work(
    lease: Lease,
    host: str,
    heartbeat: Heartbeat,
    timing: Periods,
    stopping: Callable[[], bool],
) -> Outcome:
    if lease.stale_host == host:
        kill_stale_group(lease.stale_pgid, lease.stale_start)
    log_path = run_folder(lease.run_id) / "engine.log"
    log_path.parent.mkdir(parents=True, exist_ok=True)
    if lease.deaths >= MOST_DEATHS:
        tail = log_path.read_text(errors="replace") if log_path.exists() else ""
        _fail_crash_loop(lease, lease.deaths, "the worker or the engine was killed", tail)
        return "ended"
    try:
        handshake = handshake_build(lease)
    except CannotStart as error:
        ending.run_fail(lease, code=error.code, text=error.message)
        return "ended"
    engine = EngineProcess(handshake, log_path)
    heartbeat.on_loss(engine.kill)
    try:
        run_note_process(lease, pgid=engine.pid, process_start=process_start(engine.pid))
        return _Watch(lease, engine, heartbeat, timing, stopping).until_end()
    finally:
        engine.kill()


def _fail_crash_loop(lease: Lease, deaths: int, how: str, tail: str) -> None:
    step = lease.last_step + 1
    text = (
        f"Step {step} was begun {deaths} times and never finished: {how}. The last lines of the "
        "engine's log are below. Clone the job with what they ask for changed."
    )
    ending.run_fail(lease, code="crash_loop", text=text, log=tail)


class _Watch:
    """Reads the events of one engine and turns them into rows, until one of them is the last."""

    def __init__(
        self,
        lease: Lease,
        engine: EngineProcess,
        heartbeat: Heartbeat,
        timing: Periods,
        stopping: Callable[[], bool],
    ) -> None:
        self._lease = lease
        self._engine = engine
        self._heartbeat = heartbeat
        self._timing = timing
        self._stopping = stopping
        self._last_step = lease.last_step
        self._advanced = False
        self._told = "run"
        self._deadline: float | None = None
        self._shown_at = 0.0

    def until_end(self) -> Outcome:
        """The main loop; the engine keeps what a resume needs from the first line on."""
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

    def _tell(self) -> None:
        """What the owner wants, and from which checkpoint on the engine must keep all."""
        message = {"desired": self._told, "committed": self._last_step}
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
            case events.Started():
                self._patiently(lambda: run_note_message(self._lease, _started(event)))
            case events.Message():
                self._patiently(lambda: run_note_message(self._lease, event))
            case events.Failed(permanent=False):
                note = events.Message(level="warn", text=event.text, code=event.code)
                self._patiently(lambda: run_note_message(self._lease, note))
                return self._died(self._engine.kill(), event.text)
            case _:
                return self._end(event)
        return None

    def _commit(self, done: events.StepDone) -> None:
        artifacts.step_upload(self._lease.run_id, done)

        def committed() -> bool:
            return step_committed(self._lease, done.step)

        self._patiently(lambda: step_commit(self._lease, done), is_done=committed)
        self._last_step = done.step
        self._advanced = True
        if self._told == "run":
            self._tell()

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

    def _end(self, event: events.Event) -> Outcome:
        match event:
            case events.Finished():
                artifacts.adapter_upload(self._lease.run_id, event)
                self._patiently(lambda: ending.run_finish(self._lease, event))
            case events.Paused():
                self._patiently(
                    lambda: ending.run_pause(self._lease, reason=event.reason, text=event.text)
                )
            case events.Cancelled():
                self._patiently(lambda: ending.run_cancel(self._lease))
            case events.Failed():
                tail = self._engine.last_lines()
                self._patiently(
                    lambda: ending.run_fail(self._lease, code=event.code, text=event.text, log=tail)
                )
        return "ended"

    def _died(self, status: int, why: str = "") -> Outcome:
        """The engine ended without a last word; try again, but not for ever at one step."""
        if self._heartbeat.lost:
            return "lost"
        if self._told == "cancel":
            return self._overdue()
        deaths = 1 + (0 if self._advanced else self._lease.deaths)
        how = why or self._engine.garbage or _exit_text(status)
        if deaths >= MOST_DEATHS:
            lease = self._lease
            _fail_crash_loop(lease, deaths, how, self._engine.last_lines())
            return "ended"
        wait_s = self._timing.retry * 2 ** (deaths - 1)
        note = events.Message(
            level="warn",
            code="engine_died",
            text=f"The engine ended after step {self._last_step} ({how}). It starts again.",
        )
        self._patiently(lambda: run_note_message(self._lease, note))
        self._patiently(lambda: run_release(self._lease, died=True, wait_s=wait_s))
        if not wait_s:
            ring(self._lease.run_id)
        return "died"

    def _patiently(
        self, write: Callable[[], object], is_done: Callable[[], bool] = lambda: False
    ) -> None:
        """Write; while the database is away, try again for as long as the lease may last."""
        while True:
            try:
                if not is_done():
                    write()
                return
            except (OperationalError, InterfaceError) as error:
                log.warning("Trying again to write for %s: %s", self._lease.run_id, error)
                connection.close()
            except DatabaseError as error:
                ending.run_fail(
                    self._lease,
                    code="not_storable",
                    text=f"What the engine reported could not be stored: {error}",
                    log=self._engine.last_lines(),
                )
                raise Fenced(self._lease.run_id, self._lease.epoch) from error
            if self._heartbeat.lost:
                raise Fenced(self._lease.run_id, self._lease.epoch)
            time.sleep(RETRY_PAUSE)


def _started(event: events.Started) -> events.Message:
    text = (
        f"Engine started on {event.device} ({event.dtype}), {event.trainable_parameters} of "
        f"{event.parameters} parameters trainable; next is step {event.first_step}."
    )
    return events.Message(text=text, code="started")


def _exit_text(status: int) -> str:
    return f"killed by signal {-status}" if status < 0 else f"exit status {status}"
