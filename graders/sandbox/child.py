"""One grading inside its own forked and locked-down process. Standard library only.

The code that runs here shares this process with what it grades, and may be told what to do by a
model's answer. So an answer counts only with the key of this grading, which is read from its pipe
before the code starts and is never bound to a name: frames, globals and the garbage collector
do not lead to it. Whatever decides between score and error uses constants and local names alone,
which nothing can replace from outside the function. What is left is reading raw memory by way of
a library; a grader that runs a model's code in its own process shares its score with that code.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any, NoReturn

from graders.sandbox.limits import STDOUT_BYTES

REQUEST_FD, KEY_FD, REPLY_FD, STDOUT_FD = 3, 4, 5, 6
KEY_BYTES = 32
MESSAGE_CHARACTERS = 2000
SOURCE_NAME = "<grader>"

_FORBIDDEN = frozenset(
    {
        "gc.get_objects",
        "gc.get_referrers",
        "gc.get_referents",
        "sys.settrace",
        "sys.setprofile",
        "code.__new__",
    }
)


class BoundedOutput:
    """Standard output of a grader: the first bytes go to the pipe, the rest nowhere."""

    encoding = "utf-8"
    errors = "replace"

    def __init__(self, handle: int, limit: int = STDOUT_BYTES) -> None:
        self._handle = handle
        self._left = limit

    def write(self, text: str) -> int:
        if not isinstance(text, str):
            raise TypeError(f"write() takes a str, not {type(text).__name__}")
        if self._left > 0:
            # A character has at least one byte, so more of them than bytes left cannot be shown.
            data = text[: self._left].encode("utf-8", "replace")[: self._left]
            self._left -= os.write(self._handle, data)
        return len(text)

    def flush(self) -> None:
        """Nothing is held back."""

    def isatty(self) -> bool:
        return False

    def writable(self) -> bool:
        return True


def read_request() -> tuple[str, Any, Any]:
    """Source, sample and item, from the request pipe to its end."""
    pieces: list[bytes] = []
    while piece := os.read(REQUEST_FD, 1 << 16):
        pieces.append(piece)
    os.close(REQUEST_FD)
    request = json.loads(b"".join(pieces))
    return request["source"], request["sample"], request["item"]


def forbid_introspection(*, foreign_calls: bool) -> None:
    """Refuse what finds objects without a name: the collector's lists, tracing, raw memory."""

    def hook(
        event: str,
        _arguments: object,
        forbidden: frozenset[str] = _FORBIDDEN,
        allow_ctypes: bool = foreign_calls,
    ) -> None:
        if event in forbidden or (event[:7] == "ctypes." and not allow_ctypes):
            raise PermissionError(1, "A grader may not use " + event)

    sys.addaudithook(hook)


def run(scalars: frozenset[type]) -> NoReturn:
    """Grade, answer, end. `scalars`: number types that turn into Python's by `item()`."""
    source, sample, item = read_request()
    sys.stdout = sys.stderr = BoundedOutput(STDOUT_FD)
    write, leave = os.write, os._exit
    try:
        write(REPLY_FD, os.read(KEY_FD, KEY_BYTES).join(_answer(source, sample, item, scalars)))
        leave(0)
    finally:
        leave(1)


def _answer(
    source: str,
    sample: Any,
    item: Any,
    scalars: frozenset[type],
    *,
    type_of: Callable[[Any], type] = type,
    float_type: type = float,
    int_type: type = int,
    float_text: Callable[[Any], str] = float.__repr__,
) -> Iterator[bytes]:
    """An empty piece, and the answer: `S` and a number, or `E` and a JSON object.

    Its pieces are joined by the key, which puts the key in front of the answer.
    """
    yield b""
    try:
        space = _module().__dict__
        code = compile(source, SOURCE_NAME, "exec", dont_inherit=True)
        exec(code, space)  # noqa: S102 - this is the purpose
        value = space["grade"](sample, item)
        if type_of(value) in scalars:
            value = value.item()
        if type_of(value) is int_type and -(2**53) <= value <= 2**53:
            value = float_type(value)
        if type_of(value) is float_type:
            answer = b"S" + float_text(value).encode()
        else:
            answer = b"E" + _wrong_type(value)
    except BaseException as error:  # noqa: BLE001 - even an exit is an answer of the author's code
        answer = b"E" + _failure(error)
    yield answer


def _module() -> ModuleType:
    """The module that the source becomes; dataclasses and the like look it up by its name."""
    module = sys.modules["grader"] = ModuleType("grader")
    module.__dict__["__builtins__"] = __builtins__
    return module


def _wrong_type(value: object) -> bytes:
    name = type(value).__name__
    size = " outside ±2^53" if type(value) is int else ""
    return _error("", 0, f"`grade` returned a value of type {name}{size}; return a float.")


def _failure(error: BaseException) -> bytes:
    line = 0
    for frame, number in traceback.walk_tb(error.__traceback__):
        if frame.f_code.co_filename == SOURCE_NAME:
            line = number
    if isinstance(error, SyntaxError) and error.filename == SOURCE_NAME:
        line = error.lineno or 0
    try:
        message = str(error)
    except BaseException:  # noqa: BLE001 - its text is the author's code, and may do anything
        message = "(its text could not be made)"
    return _error(type(error).__name__, line, message)


def _error(name: str, line: int, message: str) -> bytes:
    shown = {"type": name[:200], "line": line, "message": message[:MESSAGE_CHARACTERS]}
    # A lone surrogate has no bytes, so it becomes a question mark here.
    return json.dumps(shown, ensure_ascii=False).encode("utf-8", "replace")
