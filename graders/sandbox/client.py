"""The sandbox that graders use: `PythonSandbox.run(source, sample, item)`."""

from __future__ import annotations

import contextlib
import functools
import json
import math
import os
import re
import secrets
import signal
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import msgspec

from graders.kinds.base import Grading, GradingError
from graders.sandbox import libraries
from graders.sandbox.child import KEY_BYTES
from graders.sandbox.isolation import SandboxUnavailable
from graders.sandbox.limits import REQUEST_BYTES, SOURCE_BYTES, Limits, from_environment
from graders.sandbox.modules import WHEN_NAMED
from graders.sandbox.server import Ended, SandboxServer, ServerDied, ServerOptions

_SCORE = re.compile(rb"-?[0-9]{1,20}(\.[0-9]{1,20})?(e[+-]?[0-9]{1,3})?")
_WORD = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_WRITING_WORDS = frozenset({"tempfile", "tmp"})
"""A source that says `tempfile` or `/tmp` gets a place for temporary files."""
_MISSING = re.compile(r"No module named '(\w+)")
_SELF_TEST = """
import os, socket
def refused(attempt):
    try:
        attempt()
    except OSError:
        return True
    return False
def grade(sample, item):
    return float(
        refused(lambda: socket.socket()) and refused(os.fork)
        and refused(lambda: os.open("/etc/passwd", os.O_RDONLY))
        and refused(lambda: os.execv("/bin/true", ["true"])) and not os.environ
    )
"""


class _Failure(msgspec.Struct, forbid_unknown_fields=True):
    """What the child says of an exception; `type` is empty where the value was wrong."""

    type: str
    line: int
    message: str


class PythonSandbox:
    """Runs `grade(sample, item)` in a locked-down process of its own for each call.

    Starts its server on first use, starts it again where it died, and refuses with
    SandboxUnavailable where this machine cannot isolate. After a server has run, what keeps
    another from starting is a fault that may pass, and an error of the grading. Safe to use from
    several threads.
    """

    def __init__(
        self,
        *,
        limits: Limits | None = None,
        wall_s: float | None = None,
        concurrency: int = 4,
        bwrap: bool | None = None,
        foreign_calls: bool = False,
    ) -> None:
        """`limits` are the operator's, and `wall_s` shortens them."""
        chosen = limits or from_environment()
        self._wall_s = min(chosen.wall_s, wall_s or chosen.wall_s)
        self._options = ServerOptions(chosen, concurrency, bwrap, foreign_calls)
        self._slots = threading.BoundedSemaphore(concurrency)
        self._lock = threading.Lock()
        self._server: SandboxServer | None = None
        self._owner = 0
        self._has_run = False

    def __enter__(self) -> PythonSandbox:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def run(self, source: str, sample: Mapping[str, Any], item: Mapping[str, Any]) -> Grading:
        """One grading; whatever the source does, the result is a finite reward or an error."""
        request = _request(source, sample, item)
        if isinstance(request, GradingError):
            return Grading(reward=None, error=request)
        with self._slots:
            try:
                return self._graded(request, words_of(source))
            except (SandboxUnavailable, OSError) as error:
                if not self._has_run:
                    raise
                return Grading(reward=None, error=_fault(str(error)))

    def close(self) -> None:
        """End the server and everything in it; a later `run` starts another."""
        with self._lock:
            server, self._server = self._server, None
            if server is not None and self._owner == os.getpid():
                server.close()

    def start(self) -> SandboxServer:
        """The server, started now if it was not; raises SandboxUnavailable."""
        return self._running()

    def _graded(self, request: bytes, words: Words) -> Grading:
        for _ in range(2):
            server = self._running()
            key = secrets.token_bytes(KEY_BYTES)
            try:
                ended = server.call(
                    request, key, self._wall_s, modules=words.modules, writes=words.writes
                )
                return read_ending(ended, key, self._wall_s)
            except ServerDied as died:
                self._drop(server)
                message = f"{died} It was tried twice; try again."
        return Grading(reward=None, error=_fault(message))

    def _running(self) -> SandboxServer:
        with self._lock:
            # After a fork the server belongs to the other process.
            if self._server is not None and self._owner != os.getpid():
                self._server.abandon()
                self._server = None
            if self._server is None:
                self._server = _checked(SandboxServer(self._options))
                self._owner = os.getpid()
                self._has_run = True
            return self._server

    def _drop(self, server: SandboxServer) -> None:
        with self._lock:
            if self._server is server:
                self._server = None
        server.close()


@dataclass(frozen=True)
class Words:
    """What a source's words ask of the server."""

    modules: tuple[str, ...]
    writes: bool


@functools.lru_cache(maxsize=64)
def words_of(source: str) -> Words:
    """Modules to load first, and whether there have to be temporary files.

    Words and not imports are looked at, so that a name inside a string counts as well.
    """
    words = set(_WORD.findall(source))
    return Words(tuple(sorted(words & WHEN_NAMED.keys())), bool(words & _WRITING_WORDS))


def _checked(server: SandboxServer) -> SandboxServer:
    """The server, once a grading in it has found itself locked in."""
    request = _request(_SELF_TEST, {}, {})
    key = secrets.token_bytes(KEY_BYTES)
    grading = None
    if isinstance(request, bytes):
        with contextlib.suppress(ServerDied):
            grading = read_ending(server.call(request, key, 10.0), key, 10.0)
    if grading is None or grading.reward != 1.0:
        server.close()
        found = (
            grading.error.message if grading and grading.error else "a restriction had no effect"
        )
        raise SandboxUnavailable(
            f"Python graders do not run here: the sandbox failed its own test ({found})."
        )
    return server


def _request(
    source: str, sample: Mapping[str, Any], item: Mapping[str, Any]
) -> bytes | GradingError:
    try:
        size = len(source.encode())
        request = json.dumps(
            {"source": source, "sample": sample, "item": item}, allow_nan=False
        ).encode()
    except (TypeError, ValueError, RecursionError) as error:
        return GradingError("sample_parse", f"The sample or item cannot be sent as JSON: {error}.")
    if size >= SOURCE_BYTES:
        return GradingError(
            "other", f"The source has {size} bytes; it has to be shorter than {SOURCE_BYTES}."
        )
    if len(request) > REQUEST_BYTES:
        return GradingError(
            "sample_parse",
            f"Sample and item have {len(request)} bytes; {REQUEST_BYTES} may be sent.",
        )
    return request


def read_ending(ended: Ended, key: bytes, wall_s: float) -> Grading:
    """The grading that `ended` stands for: a score only in the one form that can be trusted."""
    stdout = ended.stdout.decode("utf-8", "replace").replace("\x00", "\N{REPLACEMENT CHARACTER}")
    result = _score_or_error(ended, key, wall_s)
    if isinstance(result, float):
        return Grading(reward=result, stdout=stdout)
    return Grading(reward=None, error=result, stdout=stdout)


def _score_or_error(ended: Ended, key: bytes, wall_s: float) -> float | GradingError:
    if not ended.started:
        return _fault("The grader's process ended before the grader was started.")
    if ended.timed_out or ended.exit_code == -signal.SIGXCPU:
        return _runtime(f"timeout: `grade` ran longer than {wall_s:g} s and was stopped.")
    if ended.exit_code == -signal.SIGKILL:
        # A grading can send no signal, not even to itself.
        return _fault("The grader's process was killed from outside, as where memory runs out.")
    if ended.exit_code < 0:
        return _runtime(f"The grader's process was stopped by {_signal_name(-ended.exit_code)}.")
    if ended.oversized:
        return _runtime("The grader wrote more than an answer to the reply pipe.")
    if ended.exit_code != 0 or not ended.reply:
        return _runtime("The grader's process ended without an answer.")
    if not secrets.compare_digest(ended.reply[: len(key)], key):
        return _runtime("The answer does not come from `grade`: its key is wrong.")
    return _read_answer(ended.reply[len(key) :])


def _read_answer(answer: bytes) -> float | GradingError:
    kind, body = answer[:1], answer[1:]
    if kind == b"S":
        if body in {b"nan", b"inf", b"-inf"}:
            return _runtime(f"`grade` returned {body.decode()}; return a finite number.")
        if _SCORE.fullmatch(body) and math.isfinite(score := float(body)):
            return score
    elif kind == b"E":
        with contextlib.suppress(msgspec.MsgspecError):
            return _described(msgspec.json.decode(body, type=_Failure, strict=True))
    return _runtime("The answer does not come from `grade`: it has the wrong form.")


def _described(failure: _Failure) -> GradingError:
    if not failure.type:
        return _runtime(failure.message)
    place = f" at line {failure.line}" if failure.line else ""
    said = f": {failure.message}" if failure.message else ""
    return _runtime(f"`grade` raised {failure.type}{said}{place}.{_way_out(failure)}")


def _way_out(failure: _Failure) -> str:
    """How a library is installed that graders may use and that is not there."""
    missing = _MISSING.match(failure.message)
    known = {libraries.module_of(name): name for name in libraries.find().missing}
    if failure.type != "ModuleNotFoundError" or missing is None or missing[1] not in known:
        return ""
    return (
        f" Graders may use {known[missing[1]]} where the operator has installed the libraries "
        f"for them: {libraries.INSTALL}."
    )


def _fault(message: str) -> GradingError:
    return GradingError("python_grader_server", message, infra=True)


def _runtime(message: str) -> GradingError:
    # What PostgreSQL would refuse must not come back in a message.
    clean = message.replace("\x00", "\N{REPLACEMENT CHARACTER}")
    return GradingError("python_grader_runtime", clean.encode("utf-8", "replace").decode())


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
