"""The fork server inside the sandbox: knows the libraries, holds nobody's data, grades in children.

Started by `graders.sandbox.server` with a socket for a handle. A message asks for one grading and
carries five pipe ends: request, key, reply, standard output, and the one on which this server
tells how the child ended. Standard library only, until the allowed packages are loaded.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import json
import mmap
import os
import random
import resource
import select
import signal
import socket
import struct
import sys
import time
from dataclasses import dataclass
from typing import NoReturn

from graders.sandbox import bpf, child, lockdown, scratch
from graders.sandbox.modules import Loader

MESSAGE = struct.Struct("<d?")
"""Seconds, and whether the grading gets temporary files; then the words that name modules."""
MESSAGE_BYTES = 4096
STATUS = struct.Struct("<ii")
HANDLES = 5
READY, READY_WITH_SCRATCH = b"ready", b"ready with temporary files"
REFUSED_EXIT = 71
NICENESS = 5
"""A grader that computes without end leaves the pages and the database their share."""


@dataclass(frozen=True)
class Setup:
    """What a child gets: its limits, what it may read, and what it may import."""

    machine: str
    memory_bytes: int
    disk_bytes: int
    foreign_calls: bool
    scratch: bool
    readable: list[str]
    libraries: dict[str, str]
    nltk_data: list[str]


@dataclass
class Running:
    """A child: its end is seen on `process`, told on `status`, forced at `deadline`."""

    pid: int
    process: int
    status: int
    deadline: float
    timed_out: bool = False


class Zygote:
    """Takes gradings from one socket until it closes."""

    def __init__(self, control: socket.socket, setup: Setup) -> None:
        self._control = control
        self._setup = setup
        self._scratch = setup.scratch and scratch.works()
        self._program = bpf.program(setup.machine)
        self._writing_program = bpf.program(setup.machine, writing=True)
        self._ruleset = lockdown.landlock_ruleset(setup.readable)
        self._loader = Loader(setup.libraries, setup.nltk_data)
        self._scalars = self._loader.load_first()
        self._settle()
        self._children: dict[int, Running] = {}
        self._poll = select.poll()
        self._poll.register(control, select.POLLIN)

    def _settle(self) -> None:
        """After loading: one state for all children, shared with them as long as it can be."""
        if numpy := sys.modules.get("numpy"):
            numpy.random.seed(0)
        gc.freeze()
        gc.enable()
        self._memory_bytes = address_space() + self._setup.memory_bytes

    def serve(self) -> None:
        """Fork, watch and reap; returns when the other side is gone, with no child left."""
        self._control.send(READY_WITH_SCRATCH if self._scratch else READY)
        try:
            while True:
                for handle, _ in self._poll.poll(self._patience()):
                    if handle != self._control.fileno():
                        self._reap(self._children[handle])
                    elif not self._take():
                        return
                self._stop_overdue()
        finally:
            for running in list(self._children.values()):
                self._kill(running)
                self._reap(running)

    def _patience(self) -> float | None:
        waiting = [one.deadline for one in self._children.values() if not one.timed_out]
        return max(0.0, min(waiting) - time.monotonic()) * 1000 + 1 if waiting else None

    def _take(self) -> bool:
        message, handles, _, _ = socket.recv_fds(self._control, MESSAGE_BYTES, HANDLES)
        if not message:
            return False
        wall_s, writes = MESSAGE.unpack_from(message)
        if self._loader.load(message[MESSAGE.size :].decode().split()):
            self._settle()
        status = handles.pop()
        server, pid = os.getpid(), os.fork()
        if pid == 0:
            self._become_grader(handles, wall_s, server, writes=writes and self._scratch)
        for handle in handles:
            os.close(handle)
        process = os.pidfd_open(pid)
        self._children[process] = Running(pid, process, status, time.monotonic() + wall_s)
        self._poll.register(process, select.POLLIN)
        return True

    def _stop_overdue(self) -> None:
        now = time.monotonic()
        for running in self._children.values():
            if now >= running.deadline and not running.timed_out and not _has_ended(running):
                running.timed_out = True
                self._kill(running)

    def _kill(self, running: Running) -> None:
        # It can start no process and no thread, so there is nothing behind it.
        with contextlib.suppress(ProcessLookupError):
            os.kill(running.pid, signal.SIGKILL)

    def _reap(self, running: Running) -> None:
        _, status = os.waitpid(running.pid, 0)
        self._poll.unregister(running.process)
        del self._children[running.process]
        os.close(running.process)
        code = os.waitstatus_to_exitcode(status)
        with contextlib.suppress(BrokenPipeError):
            os.write(running.status, STATUS.pack(code, running.timed_out))
        os.close(running.status)

    def _become_grader(
        self, handles: list[int], wall_s: float, server: int, *, writes: bool
    ) -> NoReturn:
        try:
            ruleset = self._ruleset
            if writes:
                scratch.mount(self._setup.disk_bytes)
                # Landlock knows files and not paths, so that of this mount is one by itself.
                ruleset = lockdown.landlock_ruleset(self._setup.readable, [scratch.PLACE])
            if self._scratch:
                scratch.give_up_capabilities()
            lockdown.restrict(
                ruleset,
                memory_bytes=self._memory_bytes,
                file_bytes=self._setup.disk_bytes if writes else 0,
                cpu_s=int(wall_s) + 1,
            )
            if os.getppid() != server:
                os._exit(REFUSED_EXIT)
            _arrange(handles)
            child.forbid_introspection(foreign_calls=self._setup.foreign_calls)
            lockdown.filter_calls(self._writing_program if writes else self._program)
            # The library seeds itself anew after each fork; gradings should be the same each time.
            random.seed(0)
            child.run(self._scalars)
        finally:
            # Reached only where a restriction failed or the request was unreadable: nothing ran.
            os._exit(REFUSED_EXIT)


def _has_ended(running: Running) -> bool:
    """By itself, while this server was loading a library and could not look."""
    return bool(select.select([running.process], [], [], 0)[0])


def _arrange(handles: list[int]) -> None:
    """The grading's pipes on 3 to 6 and nothing else open; 0 to 2 are the null device already."""
    # Moved above every target first: one pipe's number may be another one's target.
    moved = [fcntl.fcntl(handle, fcntl.F_DUPFD, 16) for handle in handles]
    for offset, handle in enumerate(moved):
        os.dup2(handle, child.REQUEST_FD + offset)
    os.closerange(child.REQUEST_FD + len(moved), 1 << 16)


def address_space() -> int:
    """What this process has mapped by now, as RLIMIT_AS counts it.

    Found by trying, as there is no /proc here: the least limit under which a page can be mapped.
    """
    before = resource.getrlimit(resource.RLIMIT_AS)
    low, high = 0, 1 << 47
    try:
        while high - low > mmap.PAGESIZE:
            middle = (low + high) // 2
            resource.setrlimit(resource.RLIMIT_AS, (middle, before[1]))
            try:
                mmap.mmap(-1, mmap.PAGESIZE).close()
            except (OSError, MemoryError):
                low = middle
            else:
                high = middle
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
    return high


def main(handle: str, setup: str) -> None:
    """The server's program: a socket's handle, and a Setup as JSON."""
    # Nothing more of ours is to be found: not on the path, and not beside what is loaded.
    sys.path.pop(0)
    sys.modules["graders"].__path__ = sys.modules["graders.sandbox"].__path__ = []
    os.environ.clear()
    os.nice(NICENESS)
    Zygote(socket.socket(fileno=int(handle)), Setup(**json.loads(setup))).serve()
