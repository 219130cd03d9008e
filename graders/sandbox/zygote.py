"""The fork server inside the sandbox: knows the libraries, holds nobody's data, grades in children.

Started by `graders.sandbox.server` with a socket for a handle. A message asks for one grading and
carries five pipe ends: request, key, reply, standard output, and the one on which this server
tells how the child ended. Standard library only, until the allowed packages are loaded.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import importlib
import json
import os
import random
import select
import signal
import socket
import struct
import sys
import time
from dataclasses import dataclass
from typing import NoReturn

from graders.sandbox import bpf, child, lockdown

MESSAGE = struct.Struct("<d")
STATUS = struct.Struct("<ii")
HANDLES = 5
READY = b"ready"
REFUSED_EXIT = 71

_LIBRARY = """
_strptime abc argparse array ast asyncio base64 binascii bisect bz2 calendar cmath codecs
collections.abc colorsys concurrent.futures concurrent.futures.thread configparser
contextlib copy copyreg csv ctypes ctypes.util dataclasses datetime decimal difflib dis
email.utils encodings.ascii encodings.cp1252 encodings.idna encodings.latin_1
encodings.punycode encodings.rot_13 encodings.utf_16 encodings.utf_32 enum fcntl fnmatch
fractions functools getopt glob graphlib gzip hashlib heapq hmac html html.entities
html.parser importlib.metadata importlib.resources importlib.util inspect io ipaddress
itertools json keyword linecache locale logging lzma marshal math mimetypes mmap
multiprocessing multiprocessing.context multiprocessing.popen_fork ntpath numbers opcode
operator pathlib pickle pkgutil platform posixpath pprint queue quopri random re reprlib
resource sched secrets select selectors shlex shutil signal socket stat statistics string
stringprep struct subprocess symtable tarfile tempfile textwrap threading time timeit
token tokenize tomllib traceback types typing unicodedata urllib.parse urllib.request uuid
warnings weakref xml.dom.minidom xml.etree.ElementTree zipfile zlib zoneinfo
"""
PACKAGES = (
    *("numpy", "numpy.fft", "numpy.linalg", "numpy.ma", "numpy.polynomial", "numpy.random"),
    *("rapidfuzz", "rapidfuzz.distance", "rapidfuzz.fuzz", "rapidfuzz.process", "rapidfuzz.utils"),
)


@dataclass(frozen=True)
class Setup:
    """What a child gets: its limits, and what it may read."""

    machine: str
    memory_bytes: int
    foreign_calls: bool
    readable: list[str]


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
        self._program = bpf.program(setup.machine)
        self._ruleset = lockdown.landlock_ruleset(setup.readable)
        self._scalars = preload()
        self._children: dict[int, Running] = {}
        self._poll = select.poll()
        self._poll.register(control, select.POLLIN)

    def serve(self) -> None:
        """Fork, watch and reap; returns when the other side is gone, with no child left."""
        self._control.send(READY)
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
        message, handles, _, _ = socket.recv_fds(self._control, MESSAGE.size, HANDLES)
        if not message:
            return False
        (wall_s,) = MESSAGE.unpack(message)
        status = handles.pop()
        server, pid = os.getpid(), os.fork()
        if pid == 0:
            self._become_grader(handles, wall_s, server)
        for handle in handles:
            os.close(handle)
        process = os.pidfd_open(pid)
        self._children[process] = Running(pid, process, status, time.monotonic() + wall_s)
        self._poll.register(process, select.POLLIN)
        return True

    def _stop_overdue(self) -> None:
        now = time.monotonic()
        for running in self._children.values():
            if now >= running.deadline and not running.timed_out:
                running.timed_out = True
                self._kill(running)

    def _kill(self, running: Running) -> None:
        # The group may not exist yet, right after the fork.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(running.pid, signal.SIGKILL)
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

    def _become_grader(self, handles: list[int], wall_s: float, server: int) -> NoReturn:
        try:
            os.setsid()
            lockdown.restrict(
                self._ruleset, memory_bytes=self._setup.memory_bytes, cpu_s=int(wall_s) + 1
            )
            if os.getppid() != server:
                os._exit(REFUSED_EXIT)
            _arrange(handles)
            child.forbid_introspection(foreign_calls=self._setup.foreign_calls)
            lockdown.filter_calls(self._program)
            # The library seeds itself anew after each fork; gradings should be the same each time.
            random.seed(0)
            child.run(self._scalars)
        finally:
            # Reached only where a restriction failed or the request was unreadable: nothing ran.
            os._exit(REFUSED_EXIT)


def _arrange(handles: list[int]) -> None:
    """The grading's pipes on 3 to 6 and nothing else open; 0 to 2 are the null device already."""
    # Moved above every target first: one pipe's number may be another one's target.
    moved = [fcntl.fcntl(handle, fcntl.F_DUPFD, 16) for handle in handles]
    for offset, handle in enumerate(moved):
        os.dup2(handle, child.REQUEST_FD + offset)
    os.closerange(child.REQUEST_FD + len(moved), 1 << 16)


def preload() -> frozenset[type]:
    """Import what graders use, before any lock; returns the number types of numpy."""
    for name in _LIBRARY.split():
        importlib.import_module(name)
    for name in PACKAGES:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    numpy = sys.modules.get("numpy")
    if numpy is None:
        return frozenset()
    numpy.random.seed(0)
    names = "float16 float32 float64 int8 int16 int32 int64 uint8 uint16 uint32 uint64"
    return frozenset(getattr(numpy, name) for name in names.split())


def main(handle: str, setup: str, *folders: str) -> None:
    """The server's program: a socket's handle, a Setup as JSON, and the import path of packages."""
    sys.path[:] = [*sys.path[1:], *folders]
    zygote = Zygote(socket.socket(fileno=int(handle)), Setup(**json.loads(setup)))
    # What was not imported by now is not there: no search where it could not be read anyway.
    sys.path[:] = [folder for folder in sys.path if folder not in folders]
    os.environ.clear()
    gc.collect()
    gc.freeze()
    zygote.serve()
