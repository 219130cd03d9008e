"""The engine as a program: handshake and control on standard input, events on standard output."""

from __future__ import annotations

import asyncio
import ctypes
import errno
import io
import os
import signal
import sys
import time
import traceback
from typing import BinaryIO

import msgspec

from jobs.engine.control import ControlReader
from jobs.engine.errors import RunCancelled, RunFailed, RunPaused
from jobs.engine.events import Cancelled, Event, Failed, Finished, Paused, ReplayDone, Started
from jobs.engine.export import export_adapter
from jobs.engine.memory import is_out_of_memory, out_of_memory_text
from jobs.engine.playground_run import played
from jobs.engine.preflight_run import preflighted
from jobs.engine.ranks import Ranks, ranks_of
from jobs.engine.replay_run import replayed
from jobs.engine.reporting import EventWriter
from jobs.engine.rollout.render import PromptRefused, TemplateRefused
from jobs.engine.spec import Handshake
from jobs.engine.wiring import make_policy, set_threads, started_facts, wired

PR_SET_PDEATHSIG = 1
SWITCH_S = 0.0005
"""The sampler's thread gives the interpreter up at each operation of torch, and would wait for the
event loop's 5 ms again and again."""
DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


def take_standard_output() -> BinaryIO:
    """The event stream; from now on a stray print goes to standard error."""
    stream = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return stream


def die_with_parent() -> None:
    """On Linux the kernel kills this process when its supervisor ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def read_handshake(stream: BinaryIO) -> Handshake:
    line = stream.readline()
    try:
        return msgspec.json.decode(line, type=Handshake)
    except (msgspec.DecodeError, ValueError) as error:
        raise RunFailed("bad_handshake", f"the job cannot be read: {error}") from error


async def run_job(
    handshake: Handshake, writer: EventWriter, control: ControlReader, ranks: Ranks
) -> Finished | ReplayDone:
    """The whole run; ends by an exception where it does not reach its end."""
    started = time.monotonic()
    task = asyncio.current_task()
    assert task is not None
    control.follow(task)
    writer.progress(max(0, handshake.last_step + 1), "loading", 0, 1)
    if handshake.playground is not None:
        await played(handshake, handshake.playground, writer, control, ranks)
        return Finished(seconds=time.monotonic() - started)
    policy = await asyncio.to_thread(make_policy, handshake.spec)
    set_threads(handshake.spec, policy)
    if handshake.replay is not None:
        return await replayed(handshake, handshake.replay, policy, writer, ranks)
    if handshake.preflight is not None:
        await preflighted(handshake, handshake.preflight, policy, writer, control, ranks)
        return Finished(seconds=time.monotonic() - started)
    async with wired(handshake, policy, writer, control, ranks) as loop:
        state = loop.saver.begin(tidy=ranks.index == 0)
        facts = started_facts(handshake.spec, policy)
        writer.emit(Started(**facts, first_step=state.step + 1))
        state = await loop.run(state)
        if handshake.spec.kind == "evaluate" or ranks.index:
            return Finished(seconds=time.monotonic() - started)
        writer.progress(state.step, "export", 0, 1)
        adapter = await export_adapter(handshake, state, loop.saver, policy)
    return Finished(seconds=time.monotonic() - started, adapter=adapter, best_step=adapter.step)


async def run_to_event(
    handshake: Handshake, writer: EventWriter, control: ControlReader, ranks: Ranks
) -> Event:
    """The terminal event of a run, whatever happens in it."""
    try:
        return await run_job(handshake, writer, control, ranks)
    except asyncio.CancelledError:
        return stopped_event(control)
    except Exception as error:  # noqa: BLE001 - the last resort: the supervisor must hear of it
        return terminal_event(error)


def stopped_event(control: ControlReader) -> Event:
    try:
        control.check()
    except (RunPaused, RunCancelled) as error:
        return terminal_event(error)
    return Failed(code="engine_error", text="The run was interrupted.", permanent=False)


def terminal_event(error: Exception) -> Event:
    """What a failure means to the job's owner; the unexpected goes to the log in full."""
    match error:
        case RunPaused():
            return Paused(reason=error.reason, text=error.text)
        case RunCancelled():
            return Cancelled()
        case RunFailed():
            return Failed(code=error.code, text=error.text, permanent=error.permanent)
        case TemplateRefused():
            return Failed(code="template_refused", text=str(error))
        case PromptRefused():
            return Failed(code="prompt_refused", text=str(error))
        case OSError() if error.errno in DISK_FULL:
            return Paused(
                reason="disk_full",
                text="The disk is full, so the step could not be saved. Nothing of it is kept: "
                "make room, then resume.",
            )
        case _ if is_out_of_memory(error):
            return Failed(code="out_of_memory", text=out_of_memory_text(error))
    traceback.print_exception(error, file=sys.stderr)
    text = f"The engine failed with {type(error).__name__}: {error}"
    return Failed(code="engine_error", text=text, permanent=False)


def main() -> int:
    stream = take_standard_output()
    die_with_parent()
    sys.setswitchinterval(SWITCH_S)
    ranks = ranks_of(os.environ)
    # Only the first process is heard; the others follow it.
    events = EventWriter(io.BytesIO() if ranks.index else stream)
    try:
        handshake = ranks.broadcast(None if ranks.index else read_handshake(sys.stdin.buffer))
    except RunFailed as error:
        events.emit(terminal_event(error))
        return 1
    control = ControlReader(None if ranks.index else sys.stdin.buffer)
    event = asyncio.run(run_to_event(handshake, events, control, ranks))
    events.emit(event)
    if ranks.index and isinstance(event, Failed):
        sys.stderr.write(f"process {ranks.index + 1} of {ranks.count}: {event.text}\n")
    sys.stderr.flush()
    # Threads of tools and samplers may still wait for somebody; nothing they do counts any more.
    os._exit(1 if isinstance(event, Failed) else 0)


if __name__ == "__main__":
    sys.exit(main())
