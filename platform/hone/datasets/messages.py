"""What the messages of a row must be: who may say what, and how calls are written. Pure.

Only text is read: every message becomes text in a chat template.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal, get_args

import msgspec

from hone.datasets.errors import Problem
from hone.datasets.values import cut, value_problems

TOOL_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")

Role = Literal["developer", "system", "user", "assistant", "tool"]
PartType = Literal["text", "input_text", "output_text"]
ROLES: tuple[str, ...] = get_args(Role)
PART_TYPES: tuple[str, ...] = get_args(PartType)


class Part(msgspec.Struct):
    type: PartType
    text: str


class CalledFunction(msgspec.Struct):
    name: str
    arguments: str


class Call(msgspec.Struct):
    id: str
    type: Literal["function"]
    function: CalledFunction


class Message(msgspec.Struct):
    role: Role
    content: str | list[Part] | None = None
    tool_calls: list[Call] | None = None
    tool_call_id: str | None = None


def message_problems(number: int, messages: list[Message]) -> Iterator[Problem]:
    """What types do not say of the messages of the row on line `number`."""
    if not messages:
        words = "is empty. Give at least one message, by the user."
        yield _problem(number, "messages", "messages_empty", words)
        return
    called: set[str] = set()
    for index, message in enumerate(messages):
        place = f"messages[{index}]"
        yield from _content_problems(number, place, message)
        yield from _call_problems(number, place, message)
        yield from _answer_problems(number, place, message, called)
        called |= {call.id for call in message.tool_calls or ()}
    yield from _last_problems(number, len(messages) - 1, messages[-1].role)


def name_problem(number: int, place: str, name: str) -> Iterator[Problem]:
    """A function's name that no model could call."""
    if not TOOL_NAME.fullmatch(name):
        words = f"is {cut(name)!r}. Use 1 to 64 letters, digits, `_` or `-`."
        yield _problem(number, place, "tool_name", words)


def _content_problems(number: int, place: str, message: Message) -> Iterator[Problem]:
    only_calls = message.role == "assistant" and message.tool_calls
    if message.content is None and not only_calls:
        yield _problem(number, f"{place}.content", "content", "is missing. Give it a text.")
    elif message.content == []:
        yield _problem(number, f"{place}.content", "content", "is an empty list. Give it a text.")


def _call_problems(number: int, place: str, message: Message) -> Iterator[Problem]:
    if message.tool_calls and message.role != "assistant":
        words = f"belongs to an `assistant` message, and this one's role is `{message.role}`."
        yield _problem(number, f"{place}.tool_calls", "tool_calls", f"{words} Remove it.")
        return
    for index, call in enumerate(message.tool_calls or ()):
        function = f"{place}.tool_calls[{index}].function"
        yield from name_problem(number, f"{function}.name", call.function.name)
        if not _is_object(call.function.arguments):
            shown = cut(call.function.arguments)
            words = (
                f"is {shown!r}. Write the arguments as the JSON text of an object, such as {{}}."
            )
            yield _problem(number, f"{function}.arguments", "arguments", words)


def _answer_problems(
    number: int, place: str, message: Message, called: set[str]
) -> Iterator[Problem]:
    answered, place = message.tool_call_id, f"{place}.tool_call_id"
    if message.role != "tool":
        if answered is not None:
            words = f"belongs to a `tool` message, and this one's role is `{message.role}`."
            yield _problem(number, place, "tool_call_id", f"{words} Remove it.")
    elif answered not in called:
        what = "is missing" if answered is None else f"is {cut(answered)!r}, which no call has"
        words = f"{what}. Give it the `id` of the earlier call that it answers."
        yield _problem(number, place, "tool_call_id", words)


def _last_problems(number: int, index: int, role: str) -> Iterator[Problem]:
    if role != "user":
        article = "an" if role == "assistant" else "a"
        message = (
            f"Line {number} ends with {article} `{role}` message; training rows must end with "
            "`user`. Remove the last message, or move it to a key such as `reference`."
        )
        yield Problem(number, f"messages[{index}].role", "dataset_last_role", message)


def _is_object(text: str) -> bool:
    try:
        found = msgspec.json.decode(text)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return False
    return isinstance(found, dict) and not any(value_problems(0, found))


def _problem(number: int, place: str, code: str, words: str) -> Problem:
    return Problem(number, place, code, f"Line {number}: `{place}` {words}")
