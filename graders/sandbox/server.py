"""The sandbox's process seen from outside: starting it, asking for a grading, ending it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass

from graders.sandbox import cgroup, command
from graders.sandbox.child import KEY_BYTES
from graders.sandbox.command import ServerOptions
from graders.sandbox.conversation import Conversation, ServerDied, pipe, read_some
from graders.sandbox.isolation import SandboxUnavailable
from graders.sandbox.limits import MB, STDOUT_BYTES
from graders.sandbox.zygote import MESSAGE, MESSAGE_BYTES, READY, READY_WITH_SCRATCH

__all__ = ["Ended", "SandboxServer", "ServerDied", "ServerOptions"]

START_S = 60.0
GRACE_S = 30.0
"""Beyond a grading's own time; loading a library for it may take some of it."""
CLOSE_S = 5.0
_OWN_BYTES = 2048 * MB
"""What the server itself and the libraries in it may take."""


@dataclass(frozen=True)
class Ended:
    """How a grading's process ended, and what it left on its pipes.

    `started`: it took its key, as it does right before it runs the source. Nobody can put it back.
    """

    exit_code: int
    timed_out: bool
    reply: bytes
    oversized: bool
    stdout: bytes
    started: bool


class SandboxServer:
    """One fork server. `call` may be used by several threads at once."""

    def __init__(self, options: ServerOptions) -> None:
        self._sending = threading.Lock()
        self._first_process: int | None = None
        with contextlib.ExitStack() as handles:
            self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            handles.callback(theirs.close)
            told_r, told_w = pipe(handles)
            wrapping = command.wrapping(options, told_w.number)
            self._group = cgroup.new_group(_most_bytes(options))
            words = [
                *command.entering(self._group.procs if self._group else []),
                *wrapping,
                *command.program(theirs.fileno(), options, wrapped=bool(wrapping)),
            ]
            passed = [theirs.fileno(), *([told_w.number] if wrapping else [])]
            try:
                self.process = _started(words, passed)
            except OSError:
                self._let_go()
                raise
            theirs.close()
            told_w.close()
            ready = self._wait()
            if wrapping and ready:
                self._first_process = _first_process(told_r.number)
        if not ready:
            self.close()
            raise SandboxUnavailable("The sandbox's process ended while it started.")
        self.has_scratch = ready == READY_WITH_SCRATCH

    def _wait(self) -> bytes:
        """What the server says once it is there; nothing where it ended instead."""
        try:
            self._control.settimeout(START_S)
            said = self._control.recv(len(READY_WITH_SCRATCH))
            self._control.settimeout(None)
        except OSError:
            return b""
        return said if said in {READY, READY_WITH_SCRATCH} else b""

    def call(
        self,
        request: bytes,
        key: bytes,
        wall_s: float,
        *,
        modules: Iterable[str] = (),
        writes: bool = False,
    ) -> Ended:
        """Run one grading to its end; raises ServerDied.

        `modules` are words of the list that the server loads first; `writes` asks for a place for
        temporary files.
        """
        message = MESSAGE.pack(wall_s, writes) + " ".join(modules).encode()
        with contextlib.ExitStack() as handles:
            request_r, request_w = pipe(handles)
            key_r, key_w = pipe(handles)
            reply_r, reply_w = pipe(handles)
            stdout_r, stdout_w = pipe(handles)
            status_r, status_w = pipe(handles)
            os.write(key_w.number, key[:KEY_BYTES])
            key_w.close()
            given = [request_r, key_r, reply_w, stdout_w, status_w]
            try:
                with self._sending:
                    socket.send_fds(
                        self._control, [message[:MESSAGE_BYTES]], [end.number for end in given]
                    )
            except OSError as error:
                raise ServerDied("The sandbox's process is gone.") from error
            for end in given:
                if end is not key_r:
                    end.close()
            conversation = Conversation(request, request_w, reply_r, status_r)
            exit_code, timed_out = conversation.hold(time.monotonic() + wall_s + GRACE_S)
            for end in (stdout_r, key_r):
                os.set_blocking(end.number, False)
            return Ended(
                exit_code,
                timed_out,
                conversation.reply,
                conversation.oversized,
                read_some(stdout_r.number, STDOUT_BYTES),
                started=not read_some(key_r.number, KEY_BYTES),
            )

    def abandon(self) -> None:
        """In a forked copy of the owner: let go, so that the server ends with its owner."""
        self._control.close()
        if self._first_process is not None:
            os.close(self._first_process)

    def close(self) -> None:
        """End the process and all its children, by force where it does not end by itself."""
        self._control.close()
        try:
            self.process.wait(timeout=CLOSE_S)
        except subprocess.TimeoutExpired:
            self._kill()
            self.process.wait()
        self._let_go()

    def _let_go(self) -> None:
        self._control.close()
        if self._first_process is not None:
            os.close(self._first_process)
            self._first_process = None
        if self._group is not None:
            self._group.close()

    def _kill(self) -> None:
        """With the first process of a namespace all others in it die; without one, with theirs."""
        if self._first_process is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._first_process, signal.SIGKILL)
        self.process.kill()


def _most_bytes(options: ServerOptions) -> int:
    each = options.limits.memory_bytes + options.limits.disk_bytes
    return _OWN_BYTES + options.concurrency * each


def _started(words: list[str], handles: list[int]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        words,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=handles,
        env=command.ENVIRONMENT,
        start_new_session=True,
        cwd="/",
    )


def _first_process(told: int) -> int | None:
    """A handle of the first process in bubblewrap's namespace, by what bubblewrap tells."""
    try:
        return os.pidfd_open(json.loads(os.read(told, 4096))["child-pid"])
    except (OSError, ValueError, KeyError):
        return None
