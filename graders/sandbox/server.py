"""The sandbox's process seen from outside: starting it, asking for a grading, ending it."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import select
import socket
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from graders.sandbox.child import KEY_BYTES, STDOUT_BYTES
from graders.sandbox.isolation import SandboxUnavailable, bubblewrap, probe
from graders.sandbox.zygote import MESSAGE, READY, STATUS

REPLY_BYTES = 64 * 1024
START_S = 60.0
GRACE_S = 10.0
PACKAGES = ("numpy", "rapidfuzz")
_OTHERS_PACKAGES = ("site-packages", "dist-packages")
_SYSTEM_LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64")
# One order of sets in every server: a resumed job grades as the first one did.
_ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
_ROOT = Path(__file__).resolve().parents[2]
_BOOT = (
    "import sys; sys.path.insert(0, sys.argv[1]); "
    "from graders.sandbox.zygote import main; main(*sys.argv[2:])"
)


class ServerDied(RuntimeError):
    """The server ended or went silent during a call."""


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


@dataclass(frozen=True)
class ServerOptions:
    """`bwrap`: None takes bubblewrap where it works, False does without, True insists."""

    memory_bytes: int
    bwrap: bool | None = None
    foreign_calls: bool = False


class SandboxServer:
    """One fork server. `call` may be used by several threads at once."""

    def __init__(self, options: ServerOptions) -> None:
        wrapper = _wrapper(options.bwrap)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [*_wrapping(wrapper), *_program(theirs.fileno(), options)]
        self._control = ours
        self._sending = threading.Lock()
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            env=_ENVIRONMENT,
            start_new_session=True,
            cwd="/",
        )
        theirs.close()
        try:
            ours.settimeout(START_S)
            ready = ours.recv(len(READY)) == READY
            ours.settimeout(None)
        except OSError:
            ready = False
        if not ready:
            self.close()
            raise SandboxUnavailable("The sandbox's process ended while it started.")

    def call(self, request: bytes, key: bytes, wall_s: float) -> Ended:
        """Run one grading to its end; raises ServerDied."""
        with contextlib.ExitStack() as handles:
            request_r, request_w = _pipe(handles)
            key_r, key_w = _pipe(handles)
            reply_r, reply_w = _pipe(handles)
            stdout_r, stdout_w = _pipe(handles)
            status_r, status_w = _pipe(handles)
            os.write(key_w.number, key[:KEY_BYTES])
            key_w.close()
            given = [request_r, key_r, reply_w, stdout_w, status_w]
            try:
                with self._sending:
                    socket.send_fds(
                        self._control, [MESSAGE.pack(wall_s)], [end.number for end in given]
                    )
            except OSError as error:
                raise ServerDied("The sandbox's process is gone.") from error
            for end in given:
                if end is not key_r:
                    end.close()
            conversation = _Conversation(request, request_w, reply_r, status_r)
            exit_code, timed_out = conversation.hold(time.monotonic() + wall_s + GRACE_S)
            for end in (stdout_r, key_r):
                os.set_blocking(end.number, False)
            return Ended(
                exit_code,
                timed_out,
                conversation.reply,
                conversation.oversized,
                _read_some(stdout_r.number, STDOUT_BYTES),
                started=not _read_some(key_r.number, KEY_BYTES),
            )

    def abandon(self) -> None:
        """In a forked copy of the owner: let go, so that the server ends with its owner."""
        self._control.close()

    def close(self) -> None:
        """End the process and all its children."""
        self._control.close()
        try:
            self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class _End:
    """One end of a pipe; closing twice is harmless."""

    def __init__(self, number: int) -> None:
        self.number = number

    def close(self) -> None:
        if self.number >= 0:
            os.close(self.number)
            self.number = -1


class _Conversation:
    """Feeds the request and collects the reply until the server tells how the child ended."""

    def __init__(self, request: bytes, request_w: _End, reply_r: _End, status_r: _End) -> None:
        self._request = memoryview(request)
        self._request_w = request_w
        self._reply_r = reply_r
        self._status_r = status_r
        self.reply = b""
        self.oversized = False
        for end in (request_w, reply_r):
            os.set_blocking(end.number, False)

    def hold(self, deadline: float) -> tuple[int, bool]:
        """Exit code and whether time ran out; raises ServerDied."""
        poller = select.poll()
        poller.register(self._request_w.number, select.POLLOUT)
        poller.register(self._reply_r.number, select.POLLIN)
        poller.register(self._status_r.number, select.POLLIN)
        while (left := deadline - time.monotonic()) > 0:
            ready = {handle for handle, _ in poller.poll(left * 1000)}
            if self._request_w.number in ready and not self._feed():
                poller.unregister(self._request_w.number)
                self._request_w.close()
            if self._reply_r.number in ready and not self._collect():
                poller.unregister(self._reply_r.number)
                self._reply_r.close()
            if self._status_r.number in ready:
                return self._ending()
        raise ServerDied("The sandbox's process does not answer.")

    def _feed(self) -> bool:
        try:
            self._request = self._request[os.write(self._request_w.number, self._request) :]
        except BlockingIOError:
            return True
        except BrokenPipeError:
            return False
        return len(self._request) > 0

    def _collect(self) -> bool:
        """Read what there is. Too much closes the pipe, which ends whoever floods it."""
        try:
            piece = os.read(self._reply_r.number, REPLY_BYTES + 1 - len(self.reply))
        except BlockingIOError:
            return True
        self.reply += piece
        self.oversized = len(self.reply) > REPLY_BYTES
        return bool(piece) and not self.oversized

    def _ending(self) -> tuple[int, bool]:
        status = os.read(self._status_r.number, STATUS.size)
        if len(status) != STATUS.size:
            raise ServerDied("The sandbox's process ended during a grading.")
        while self._reply_r.number >= 0 and self._collect():
            if not select.select([self._reply_r.number], [], [], 0)[0]:
                break
        exit_code, timed_out = STATUS.unpack(status)
        return exit_code, bool(timed_out)


def _pipe(handles: contextlib.ExitStack) -> tuple[_End, _End]:
    reading, writing = (_End(number) for number in os.pipe())
    handles.callback(reading.close)
    handles.callback(writing.close)
    return reading, writing


def _read_some(handle: int, most: int) -> bytes:
    try:
        return os.read(handle, most)
    except BlockingIOError:
        return b""


def _wrapper(wanted: bool | None) -> str | None:
    isolation = probe()
    if isolation.level == "none":
        raise SandboxUnavailable(f"Python graders do not run here. {isolation.reason}")
    if wanted and isolation.level != "bubblewrap":
        raise SandboxUnavailable(f"Bubblewrap does not work here. {isolation.reason}")
    return bubblewrap() if wanted in {None, True} else None


def _libraries() -> list[str]:
    """The standard library's folders. The interpreter's own: a virtual environment has none."""
    found = {sysconfig.get_path("stdlib"), sysconfig.get_config_var("DESTSHARED")}
    return sorted({str(Path(folder).resolve()) for folder in found if folder})


def _packages() -> list[Path]:
    """The folders of the allowed packages and of the shared libraries beside them."""
    folders: list[Path] = []
    for name in PACKAGES:
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            continue
        folder = Path(spec.origin).resolve().parent
        libraries = folder.with_name(f"{name}.libs")
        folders += [folder, libraries] if libraries.is_dir() else [folder]
    return folders


def _program(handle: int, options: ServerOptions) -> list[str]:
    packages = _packages()
    setup = {
        "machine": os.uname().machine,
        "memory_bytes": options.memory_bytes,
        "foreign_calls": options.foreign_calls,
        "readable": [*_standard_library(), *map(str, packages)],
    }
    places = sorted({str(folder.parent) for folder in packages})
    python = str(Path(sys.executable).resolve())
    # What -I stands for but -E: PYTHONHASHSEED counts. No other variable gets here.
    boot = [python, "-P", "-s", "-S", "-B", "-c", _BOOT, str(_ROOT)]
    return [*boot, str(handle), json.dumps(setup), *places]


def _standard_library() -> Iterator[str]:
    """The standard library's own entries: `site-packages` may lie in its folder."""
    for folder in _libraries():
        for entry in sorted(Path(folder).iterdir()):
            if entry.name not in _OTHERS_PACKAGES:
                yield str(entry)


def _wrapping(wrapper: str | None) -> list[str]:
    if wrapper is None:
        return []
    python = Path(sys.executable).resolve()
    base = [
        *(folder for folder in _SYSTEM_LIBRARIES if Path(folder).exists()),
        str(python),
        *(str(library) for library in python.parents[1].glob("lib/libpython*")),
        *_libraries(),
    ]
    ours = [
        *map(str, _packages()),
        str(_ROOT / "graders" / "__init__.py"),
        str(_ROOT / "graders" / "sandbox"),
    ]
    hidden = [Path(folder) / name for folder in _libraries() for name in _OTHERS_PACKAGES]
    return [
        wrapper,
        *("--unshare-all", "--unshare-user", "--uid", "65534", "--gid", "65534"),
        *("--cap-drop", "ALL", "--hostname", "grader", "--chdir", "/"),
        *_bound(base),
        *(word for folder in hidden if folder.is_dir() for word in ("--tmpfs", str(folder))),
        *_bound(ours),
        *("--dev", "/dev", "--remount-ro", "/"),
        "--",
    ]


def _bound(paths: list[str]) -> Iterator[str]:
    for path in paths:
        yield from ("--ro-bind", path, path)
