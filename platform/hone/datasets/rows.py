"""What a row of a task file must be (contract section 6), checked one line at a time. Pure.

A row is read twice by msgspec: once as the typed shape below, which names the place of a fault,
and once as plain JSON for everything that types do not say.
"""

from __future__ import annotations

import ast
import difflib
import json
import math
import re
from collections.abc import Iterator
from itertools import islice
from typing import Any, Literal

import msgspec

from hone.core.json_text import MOST_DIGITS
from hone.datasets.errors import Problem
from hone.datasets.messages import PART_TYPES, ROLES, Message, message_problems, name_problem
from hone.datasets.schemas import schema_fault
from hone.datasets.values import cut, looks_odd, quoted, too_deep, value_problems

MOST_A_ROW = 100
MOST_KEYS_COMPARED = 100
_ALIASES = {"msgs": "messages", "conversation": "messages", "functions": "tools"}


class _Function(msgspec.Struct):
    name: str
    description: str = ""
    parameters: dict[str, Any] | None = None


class _Tool(msgspec.Struct):
    type: Literal["function"]
    function: _Function


class _Row(msgspec.Struct):
    messages: list[Message]
    tools: list[_Tool] | None = None


_typed = msgspec.json.Decoder(_Row)
_plain = msgspec.json.Decoder()
_PLACE = re.compile(r"^(?P<what>.*?)(?: - at `\$\.?(?P<place>[^`]*)`)?$", re.DOTALL)
_UNKNOWN = re.compile(r"Invalid enum value (?P<repr>.*)", re.DOTALL)


class Row:
    """A row that passed: what a version's report counts."""

    def __init__(self, keys: tuple[str, ...], tools: tuple[str, ...]) -> None:
        self.keys = keys
        self.tools = tools


def check_row(number: int, line: bytes) -> Row | list[Problem]:
    """The row's facts, or its problems (at most 100); `number` is the line, counted from one."""
    try:
        item = _plain.decode(line)
        row = _typed.decode(line)
    except UnicodeDecodeError:
        return [_not_utf8(number, line)]
    except RecursionError:
        return [too_deep(number)]
    except (msgspec.DecodeError, ValueError) as error:
        return _unreadable(number, line, error)
    odd = islice(value_problems(number, item), MOST_A_ROW) if looks_odd(line) else ()
    problems = list(odd)
    if problems:
        return problems
    problems = list(islice(_meaning_problems(number, row), MOST_A_ROW))
    return problems or Row(tuple(item), tuple(tool.function.name for tool in row.tools or ()))


def _unreadable(number: int, line: bytes, error: Exception) -> list[Problem]:
    """Why a line could not be read: its odd values by place, else its shape, else its syntax."""
    try:
        item = json.loads(line.decode(), parse_int=_parse_int)
        odd = list(islice(value_problems(number, item), MOST_A_ROW))
    except UnicodeDecodeError:
        return [_not_utf8(number, line)]
    except RecursionError:
        return [too_deep(number)]
    except ValueError:
        return [_not_json(number, line, error)]
    if odd:
        return odd
    if isinstance(error, msgspec.ValidationError):
        return [_shape(number, item, error)]
    return [_not_json(number, line, error)]


def _parse_int(digits: str) -> float:
    return int(digits) if len(digits) <= MOST_DIGITS else math.inf


def _not_utf8(number: int, line: bytes) -> Problem:
    try:
        line.decode()
    except UnicodeDecodeError as error:
        where = f": byte {error.start + 1} of the line is 0x{line[error.start]:02x}"
    else:
        where = ""
    message = f"Line {number} is not UTF-8{where}. Save the file as UTF-8."
    return Problem(number, "", "encoding", message)


def _not_json(number: int, line: bytes, error: Exception) -> Problem:
    if line.startswith(b"\xef\xbb\xbf"):
        why = "it begins with a byte-order mark. Save the file as UTF-8 without one"
    else:
        fault = str(error).removeprefix("JSON is malformed: ").rstrip(".")
        why = f"{cut(fault)}. Each line must hold one whole JSON object"
    return Problem(number, "", "json", f"Line {number} is not JSON: {why}.")


def _shape(number: int, item: Any, error: msgspec.ValidationError) -> Problem:
    if isinstance(item, dict) and "messages" not in item:
        return Problem(number, "messages", "messages_missing", _missing_messages(number, item))
    matched = _PLACE.match(str(error))
    what, place = (matched["what"], matched["place"] or "") if matched else (str(error), "")
    unknown = _UNKNOWN.fullmatch(what)
    if unknown:
        return _unknown_word(number, place, ast.literal_eval(unknown["repr"]))
    message = f"Line {number}: {quoted(place)}: {cut(what).rstrip('.')}."
    return Problem(number, place, "shape", message)


def _unknown_word(number: int, place: str, value: str) -> Problem:
    """One of the few words that a role or a type may be was expected at the place."""
    known = PART_TYPES if ".content[" in place else ("function",)
    known = ROLES if place.endswith(".role") else known
    near = difflib.get_close_matches(value[:20], known, n=1)
    hint = f" Did you mean `{near[0]}`?" if near else ""
    use = f"Use one of {', '.join(known)}." if len(known) > 1 else f"Use {known[0]}."
    message = f"Line {number}: `{place}` is {cut(value)!r}. {use}{hint}"
    return Problem(number, place, place.rpartition(".")[2], message)


def _missing_messages(number: int, item: dict[str, Any]) -> str:
    keys = [cut(key) for key in islice(item, MOST_KEYS_COMPARED)]
    shown = ", ".join(keys[:8]) or "none"
    near = next((key for key in keys if _stands_for_messages(key)), "")
    hint = f"Did you mean `{near}`?" if near else "Add messages that end with the user."
    return f"Line {number} has no `messages`. Keys present: {shown}. {hint}"


def _stands_for_messages(key: str) -> bool:
    lowered = key.lower()
    close = difflib.get_close_matches(lowered, ["messages"], n=1, cutoff=0.8)
    return bool(close) or _ALIASES.get(lowered) == "messages"


def _meaning_problems(number: int, row: _Row) -> Iterator[Problem]:
    yield from message_problems(number, row.messages)
    yield from _tool_problems(number, row)


def _tool_problems(number: int, row: _Row) -> Iterator[Problem]:
    names: set[str] = set()
    for index, tool in enumerate(row.tools or ()):
        function = f"tools[{index}].function"
        yield from name_problem(number, f"{function}.name", tool.function.name)
        if tool.function.name in names:
            name = cut(tool.function.name)
            message = f"Line {number} names the tool `{name}` twice. Keep one of them."
            yield Problem(number, f"{function}.name", "tool_twice", message)
        names.add(tool.function.name)
        fault = schema_fault(tool.function.parameters) if tool.function.parameters else ""
        if fault:
            place = f"{function}.parameters"
            message = f"Line {number}: `{place}` is no JSON schema of an object: {fault}."
            yield Problem(number, place, "tool_schema", message)
