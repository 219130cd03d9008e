"""Reads a model's turn: its thinking, what it says, and the tool calls in it.

Three ways of writing calls are known: `<tool_call>{json}</tool_call>` (Hermes, Qwen), a bare JSON
object with `name` and `parameters` (Llama 3.1), and `[TOOL_CALLS] [{json}, …]` or, in newer
models, `[TOOL_CALLS]name[ARGS]{json}` for each call (Mistral).
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NoReturn


class ToolFormat(StrEnum):
    """How a model writes tool calls."""

    HERMES = "hermes"
    LLAMA = "llama"
    MISTRAL = "mistral"


@dataclass(frozen=True, slots=True)
class ParsedCall:
    """One call as the model wrote it. With `error` set it cannot be made, and says why."""

    name: str
    arguments: str
    error: str = ""


@dataclass(frozen=True, slots=True)
class ParsedTurn:
    """`calls` keeps the model's order and holds the malformed ones too."""

    reasoning: str
    content: str
    calls: list[ParsedCall] = field(default_factory=list)


def detect_format(chat_template: str) -> ToolFormat:
    """The format that a chat template teaches; Hermes where it shows none."""
    if "[TOOL_CALLS]" in chat_template:
        return ToolFormat.MISTRAL
    if "<tool_call>" in chat_template:
        return ToolFormat.HERMES
    if "ipython" in chat_template or "python_tag" in chat_template:
        return ToolFormat.LLAMA
    return ToolFormat.HERMES


def parse_turn(
    text: str, tool_format: ToolFormat = ToolFormat.HERMES, *, thinking: bool = False
) -> ParsedTurn:
    """Split one turn (without its stop token) into reasoning, content and calls.

    `thinking`: the prompt ends inside a thought, so that what is never closed is no answer and
    makes no calls.
    """
    reasoning, rest = _split_reasoning(text, thinking=thinking)
    content, calls = _READERS[tool_format](rest)
    return ParsedTurn(reasoning=reasoning.strip(), content=content.strip(), calls=calls)


def _split_reasoning(text: str, *, thinking: bool) -> tuple[str, str]:
    """A closing tag alone ends a thought, too, wherever it was opened."""
    before, closed, after = text.partition("</think>")
    if thinking:
        return before.removeprefix("<think>"), after
    if closed:
        lead, _, thought = before.rpartition("<think>")
        return thought, lead + after
    lead, opened, thought = text.partition("<think>")
    return (thought, lead) if opened else ("", text)


_HERMES_CALL = re.compile(r"<tool_call>(.*?)(?:</tool_call>|\Z)", re.DOTALL)


def _read_hermes(text: str) -> tuple[str, list[ParsedCall]]:
    calls = [_read_call(match.group(1)) for match in _HERMES_CALL.finditer(text)]
    return _HERMES_CALL.sub("", text), calls


_LLAMA_PREFIX = "<|python_tag|>"
_LLAMA_START = re.compile(r'\s*\{\s*"(?:name|type)"\s*:')


def _read_llama(text: str) -> tuple[str, list[ParsedCall]]:
    tagged = text.strip().removeprefix(_LLAMA_PREFIX)
    if tagged == text.strip() and not _LLAMA_START.match(tagged):
        return text, []
    return "", [_read_call(part) for part in _split_objects(tagged)]


def _split_objects(text: str) -> list[str]:
    """Cut `{…}; {…}` into its objects; what cannot be read stays one piece."""
    decoder = json.JSONDecoder()
    parts: list[str] = []
    rest = text.strip()
    while rest:
        try:
            _, end = decoder.raw_decode(rest)
        except (ValueError, RecursionError):
            return [*parts, rest]
        parts.append(rest[:end])
        rest = rest[end:].lstrip("; \n\t,")
    return parts


_MISTRAL_MARK = "[TOOL_CALLS]"
_MISTRAL_NAMED = re.compile(r"\s*([\w.-]+)(?:\[CALL_ID\]\w+)?\[ARGS\](.*)", re.DOTALL)


def _read_mistral(text: str) -> tuple[str, list[ParsedCall]]:
    content, mark, body = text.partition(_MISTRAL_MARK)
    if not mark:
        return text, []
    if _MISTRAL_NAMED.fullmatch(body):
        return content, [_read_named(part) for part in body.split(_MISTRAL_MARK)]
    try:
        listed = _load(body)
    except (ValueError, RecursionError) as error:
        return content, [_malformed("", body, f"not valid JSON ({error})")]
    if isinstance(listed, dict):
        listed = [listed]
    if not isinstance(listed, list) or not listed:
        return content, [_malformed("", body, "a list of calls was expected")]
    return content, [_check_call(entry, body) for entry in listed]


def _read_named(text: str) -> ParsedCall:
    match = _MISTRAL_NAMED.fullmatch(text)
    if match is None:
        return _malformed("", text, "a name and [ARGS] were expected")
    return _check_call({"name": match.group(1), "arguments": match.group(2)}, text)


_READERS = {
    ToolFormat.HERMES: _read_hermes,
    ToolFormat.LLAMA: _read_llama,
    ToolFormat.MISTRAL: _read_mistral,
}


def _read_call(text: str) -> ParsedCall:
    try:
        loaded = _load(text)
    except (ValueError, RecursionError) as error:
        return _malformed("", text, f"not valid JSON ({error})")
    return _check_call(loaded, text)


def _load(text: str) -> Any:
    return json.loads(text, parse_constant=_refuse_constant)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _check_call(loaded: Any, text: str) -> ParsedCall:
    if not isinstance(loaded, dict):
        return _malformed("", text, "an object with name and arguments was expected")
    name = loaded.get("name")
    if not isinstance(name, str) or not name:
        return _malformed("", text, "the call has no name")
    arguments = loaded.get("arguments", loaded.get("parameters", {}))
    if isinstance(arguments, str):
        try:
            arguments = _load(arguments)
        except (ValueError, RecursionError) as error:
            return _malformed(name, arguments, f"the arguments are not valid JSON ({error})")
    if not isinstance(arguments, dict):
        return _malformed(name, text, "the arguments are not an object")
    return ParsedCall(clean_text(name), clean_text(json.dumps(arguments, ensure_ascii=False)))


def _malformed(name: str, text: str, reason: str) -> ParsedCall:
    return ParsedCall(
        clean_text(name), clean_text(text.strip()), f"Error: the tool call is malformed: {reason}."
    )


def clean_text(text: str) -> str:
    """Lone surrogates cannot be stored or sent; they become question marks."""
    return text.encode("utf-8", "replace").decode("utf-8")
