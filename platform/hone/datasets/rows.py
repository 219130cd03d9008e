"""What a row of a task file must be (contract section 6), checked one line at a time. Pure.

A row is read twice by msgspec: once as the typed shape below, which names the place of a fault,
and once as plain JSON for everything that types do not say.
"""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Iterator
from itertools import islice
from typing import Any, Literal

import msgspec
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError

from hone.datasets.errors import Problem

ROLES = ("developer", "system", "user", "assistant", "tool")
TOOL_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
DEEPEST = 64
SHOWN = 80
LONGEST_PLACE = 200
MOST_A_ROW = 100
MOST_DIGITS = 4300
_LONGEST_KNOWN = 20_000
_MOST_KNOWN = 1000
_NUL = b"\\u0000"
_ALIASES = {"msgs": "messages", "conversation": "messages", "functions": "tools"}

Role = Literal["developer", "system", "user", "assistant", "tool"]


class _Message(msgspec.Struct):
    role: Role
    content: str | list[dict[str, Any]] | None = None
    tool_calls: list[dict[str, Any]] | None = None


class _Function(msgspec.Struct):
    name: str
    description: str = ""
    parameters: dict[str, Any] | None = None


class _Tool(msgspec.Struct):
    type: Literal["function"]
    function: _Function


class _Row(msgspec.Struct):
    messages: list[_Message]
    tools: list[_Tool] | None = None


_typed = msgspec.json.Decoder(_Row)
_plain = msgspec.json.Decoder()
_PLACE = re.compile(r"^(?P<what>.*?)(?: - at `\$\.?(?P<place>[^`]*)`)?$", re.DOTALL)


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
        return [_too_deep(number, "")]
    except (msgspec.DecodeError, ValueError) as error:
        return _unreadable(number, line, error)
    suspect = _NUL in line or line.count(b"{") + line.count(b"[") > DEEPEST
    problems = list(islice(_value_problems(number, item), MOST_A_ROW)) if suspect else []
    if problems:
        return problems
    problems = list(islice(_meaning_problems(number, row), MOST_A_ROW))
    return problems or Row(tuple(item), tuple(tool.function.name for tool in row.tools or ()))


def _unreadable(number: int, line: bytes, error: Exception) -> list[Problem]:
    """Why a line could not be read: its odd values by place, else its shape, else its syntax."""
    try:
        item = json.loads(line.decode(), parse_int=_parse_int)
        odd = list(islice(_value_problems(number, item), MOST_A_ROW))
    except UnicodeDecodeError:
        return [_not_utf8(number, line)]
    except RecursionError:
        return [_too_deep(number, "")]
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
    return Problem(
        number, "", "encoding", f"Row {number} is not UTF-8{where}. Save the file as UTF-8."
    )


def _too_deep(number: int, place: str) -> Problem:
    where = f" at `{place}`" if place else ""
    return Problem(
        number,
        place,
        "nesting",
        f"Row {number} is nested more than {DEEPEST} deep{where}. Flatten it.",
    )


def _not_json(number: int, line: bytes, error: Exception) -> Problem:
    if line.startswith(b"\xef\xbb\xbf"):
        why = "it begins with a byte-order mark. Save the file as UTF-8 without one"
    else:
        fault = str(error).removeprefix("JSON is malformed: ").rstrip(".")
        why = f"{_cut(fault)}. Each line must hold one whole JSON object"
    return Problem(number, "", "json", f"Row {number} is not JSON: {why}.")


def _shape(number: int, item: Any, error: msgspec.ValidationError) -> Problem:
    if isinstance(item, dict) and "messages" not in item:
        return Problem(number, "messages", "messages_missing", _missing_messages(number, item))
    matched = _PLACE.match(str(error))
    what, place = (matched["what"], matched["place"] or "") if matched else (str(error), "")
    if place.endswith(".role") and "enum" in what:
        found = re.search(r"'([^']*)'", what)
        value = _cut(found[1]) if found else ""
        return Problem(
            number,
            place,
            "role",
            f"Row {number}: `{place}` is {value!r}. Use one of {', '.join(ROLES)}."
            + _did_you_mean(value, ROLES),
        )
    where = f"`{place}`" if place else "the line"
    return Problem(number, place, "shape", f"Row {number}: {where}: {_cut(what).rstrip('.')}.")


def _missing_messages(number: int, item: dict[str, Any]) -> str:
    keys = [_cut(key) for key in item]
    shown = ", ".join(keys[:8]) or "none"
    near = next((key for key in keys if _stands_for_messages(key)), "")
    hint = f" Did you mean `{near}`?" if near else ""
    return f"Row {number} has no `messages`. Keys present: {shown}.{hint}"


def _stands_for_messages(key: str) -> bool:
    lowered = key.lower()
    close = difflib.get_close_matches(lowered, ["messages"], n=1, cutoff=0.8)
    return bool(close) or _ALIASES.get(lowered) == "messages"


def _meaning_problems(number: int, row: _Row) -> Iterator[Problem]:
    yield from _message_problems(number, row)
    yield from _tool_problems(number, row)


def _message_problems(number: int, row: _Row) -> Iterator[Problem]:
    if not row.messages:
        yield Problem(
            number,
            "messages",
            "messages_empty",
            f"Row {number}: `messages` is empty. Give at least one message, by the user.",
        )
        return
    for index, message in enumerate(row.messages):
        if message.content is None and not message.tool_calls:
            place = f"messages[{index}].content"
            yield Problem(
                number, place, "content", f"Row {number}: `{place}` is missing. Give it a text."
            )
    last = row.messages[-1].role
    if last != "user":
        place = f"messages[{len(row.messages) - 1}].role"
        article = "an" if last == "assistant" else "a"
        yield Problem(
            number,
            place,
            "dataset_last_role",
            f"Row {number} ends with {article} `{last}` message; training rows must end with "
            "`user`. Remove the last message, or move it to a key such as `reference`.",
        )


def _tool_problems(number: int, row: _Row) -> Iterator[Problem]:
    names: set[str] = set()
    for index, tool in enumerate(row.tools or ()):
        place = f"tools[{index}].function"
        if not TOOL_NAME.fullmatch(tool.function.name):
            yield Problem(
                number,
                f"{place}.name",
                "tool_name",
                f"Row {number}: `{place}.name` is {_cut(tool.function.name)!r}. "
                "Use 1 to 64 letters, digits, `_` or `-`.",
            )
        if tool.function.name in names:
            yield Problem(
                number,
                f"{place}.name",
                "tool_twice",
                f"Row {number} names the tool `{_cut(tool.function.name)}` twice. "
                "Keep one of them.",
            )
        names.add(tool.function.name)
        yield from _schema_problems(number, place, tool.function.parameters)


def _schema_problems(number: int, place: str, schema: dict[str, Any] | None) -> Iterator[Problem]:
    message = schema_fault(json.dumps(schema)) if schema is not None else ""
    if message:
        yield Problem(
            number,
            f"{place}.parameters",
            "tool_schema",
            f"Row {number}: `{place}.parameters` is no JSON schema of an object: {message}.",
        )


_known: dict[str, str] = {}


def schema_fault(text: str) -> str:
    """Why the JSON text is no schema of an object; empty where it is. Most rows repeat a few."""
    if len(text) > _LONGEST_KNOWN:
        return _schema_fault(json.loads(text))
    if text not in _known:
        if len(_known) >= _MOST_KNOWN:
            _known.clear()
        _known[text] = _schema_fault(json.loads(text))
    return _known[text]


def _schema_fault(schema: Any) -> str:
    if schema.get("type", "object") != "object":
        return f"its type is {_cut(repr(schema['type']))}, and arguments are an object"
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        return _cut(error.message).rstrip(".")
    except RecursionError:
        return "it is nested too deeply"
    return ""


def _value_problems(number: int, item: Any) -> Iterator[Problem]:
    """What JSON allows and no database or tool can carry."""
    waiting: list[tuple[str, Any, int]] = [("", item, 0)]
    while waiting:
        place, value, depth = waiting.pop()
        if depth > DEEPEST:
            yield _too_deep(number, place)
            return
        if isinstance(value, dict | list):
            waiting += reversed(list(_inside(place, value, depth + 1)))
        elif isinstance(value, float) and not math.isfinite(value):
            yield _non_finite(number, place, value)
        elif isinstance(value, str):
            yield from _text_problems(number, place, value)


def _inside(
    place: str, value: dict[str, Any] | list[Any], depth: int
) -> Iterator[tuple[str, Any, int]]:
    if isinstance(value, list):
        for index, inner in enumerate(value):
            yield _cut(f"{place}[{index}]", LONGEST_PLACE), inner, depth
        return
    for key, inner in value.items():
        within = _cut(f"{place}.{key}" if place else key, LONGEST_PLACE)
        yield f"{_visible(within)} (a key)", key, depth
        yield _visible(within), inner, depth


def _non_finite(number: int, place: str, value: float) -> Problem:
    word = "not a number (NaN)" if math.isnan(value) else "too large or infinite"
    return Problem(
        number,
        place,
        "non_finite",
        f"Row {number}: `{place}` is {word}, which JSON cannot carry. Write it as a text, use null "
        "or leave it out.",
    )


def _text_problems(number: int, place: str, value: str) -> Iterator[Problem]:
    if "\x00" in value:
        yield Problem(
            number, place, "nul", f"Row {number}: `{place}` holds a NUL character. Remove it."
        )
    try:
        value.encode()
    except UnicodeEncodeError as error:
        yield Problem(
            number,
            place,
            "surrogate",
            f"Row {number}: `{place}` holds half a character (\\u{ord(value[error.start]):04x}), "
            "which no text can hold. Remove it.",
        )


def _visible(text: str) -> str:
    """The text with what no page or database can show spelled out."""
    return text.replace("\x00", "\\u0000").encode("utf-8", "backslashreplace").decode()


def _cut(text: str, longest: int = SHOWN) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def _did_you_mean(value: str, known: tuple[str, ...]) -> str:
    near = difflib.get_close_matches(value, known, n=1)
    return f" Did you mean `{near[0]}`?" if near else ""
