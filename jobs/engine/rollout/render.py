"""Turns messages into tokens with the model's own chat template, and never does so twice.

The prompt is rendered once. After that only what is new is tokenised: the tool results, with what
the template puts around them. That suffix is read off a dummy conversation, so the history, as
the model wrote it token by token, is never rendered again, whatever the template would do to it
(dropping earlier thinking, re-ordering the keys of arguments, trimming blanks).
"""

from __future__ import annotations

import json
import secrets
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from jinja2 import TemplateError

from jobs.engine.rollout.parse import ToolFormat, detect_format
from jobs.engine.types import TokenKind

_CACHED_SUFFIXES = 4096
_CACHED_PROMPTS = 512
_ARGUMENT = f"argument{secrets.token_hex(8)}"
_RESULT = f"result{secrets.token_hex(8)}x"
"""Marks that nobody can guess, so that no tool and no model writes one."""
_TAIL = 16
"""Enough tokens to hold an opening `<think>` and the blanks after it, even one by one."""


class ChatTokenizer(Protocol):
    """The part of a transformers tokenizer that is used here."""

    chat_template: Any
    eos_token_id: Any
    all_special_tokens: list[str]

    def apply_chat_template(self, conversation: Any, **options: Any) -> Any: ...
    def __call__(self, text: str, **options: Any) -> Any: ...
    def decode(self, token_ids: list[int], **options: Any) -> Any: ...


class TemplateRefused(ValueError):
    """The template leaves no way to say which tokens follow the model's turn."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the chat template cannot be used for tool calls: {reason}")
        self.reason = reason


class PromptRefused(ValueError):
    """The template does not accept these messages."""


@dataclass(frozen=True, slots=True)
class ToolMessage:
    """A tool's answer, as the model is to see it."""

    name: str
    content: str


@dataclass(frozen=True, slots=True)
class Suffix:
    """The tokens from the end of a turn to the start of the next, and whose each is."""

    ids: list[int]
    kinds: list[int]


@dataclass(frozen=True, slots=True)
class _Frame:
    """What stands before, between and after the results of one pattern of calls."""

    pieces: tuple[str, ...]
    messages: tuple[dict[str, Any], ...]
    skipped: int


class ChatRenderer:
    """Renders for one tokenizer. `stop_ids`: the tokens that may end a turn."""

    def __init__(self, tokenizer: ChatTokenizer, stop_ids: Sequence[int] | None = None) -> None:
        if not tokenizer.chat_template:
            raise TemplateRefused("the tokenizer has none")
        self._tokenizer = tokenizer
        listed = list(stop_ids or ())
        if tokenizer.eos_token_id is not None and tokenizer.eos_token_id not in listed:
            listed.append(int(tokenizer.eos_token_id))
        self._stops: dict[int, str] = {
            stop: str(tokenizer.decode([stop], skip_special_tokens=False)) for stop in listed
        }
        template = tokenizer.chat_template
        self._template = template if isinstance(template, str) else json.dumps(template)
        self.tool_format: ToolFormat = detect_format(self._template)
        self._frames: dict[tuple[str, ...], _Frame] = {}
        self._suffixes: OrderedDict[tuple[ToolMessage, ...], Suffix] = OrderedDict()
        self._prompts: OrderedDict[str, list[int]] = OrderedDict()

    def prompt_ids(
        self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]]
    ) -> list[int]:
        """The conversation so far and the start of the model's turn; siblings share the work."""
        key = json.dumps([list(messages), list(tools)])
        ids = self._prompts.get(key)
        if ids is None:
            ids = self._prompts[key] = self._make_prompt(messages, tools)
            if len(self._prompts) > _CACHED_PROMPTS:
                self._prompts.popitem(last=False)
        return list(ids)

    def _make_prompt(
        self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]]
    ) -> list[int]:
        try:
            conversation = [self._known_role(_plain(message)) for message in messages]
            text = self._render(conversation, tools=list(tools) or None)
        except (TemplateError, ValueError, TypeError, KeyError) as error:
            raise PromptRefused(f"the chat template refuses the messages: {error}") from error
        return self._encode(text)

    def _known_role(self, message: dict[str, Any]) -> dict[str, Any]:
        """Few templates know `developer`; where one does not, it is what it used to be: system."""
        if message.get("role") == "developer" and "developer" not in self._template:
            return {**message, "role": "system"}
        return message

    def tool_suffix_ids(self, results: Sequence[ToolMessage]) -> list[int]:
        """What follows the model's stop token: the results and the start of its next turn."""
        return self.tool_suffix(results).ids

    def tool_suffix(self, results: Sequence[ToolMessage]) -> Suffix:
        """The suffix with the kind of each token: TOOL for the results, SCAFFOLD around them."""
        key = tuple(results)
        if not key:
            raise ValueError("a suffix needs at least one tool result")
        suffix = self._suffixes.get(key)
        if suffix is None:
            suffix = self._make_suffix(key)
            self._suffixes[key] = suffix
            if len(self._suffixes) > _CACHED_SUFFIXES:
                self._suffixes.popitem(last=False)
        return suffix

    def leaves_thought_open(self, ids: Sequence[int]) -> bool:
        """Whether the model's turn begins inside a thought, as some templates have it."""
        tail = self._tokenizer.decode(list(ids[-_TAIL:]), skip_special_tokens=False)
        return str(tail).rstrip().endswith("<think>")

    @property
    def close_turn_ids(self) -> list[int]:
        """What ends a turn that stopped without its end token; scaffold, never trained."""
        return [next(reversed(self._stops))] if self._stops else []

    def turn_text(self, ids: Sequence[int]) -> str:
        """What the model wrote, without the stop token; markers of calls and thinking stay."""
        shown = list(ids)
        if shown and shown[-1] in self._stops:
            shown.pop()
        return str(self._tokenizer.decode(shown, skip_special_tokens=False))

    def _make_suffix(self, results: tuple[ToolMessage, ...]) -> Suffix:
        names = tuple(result.name for result in results)
        frame = self._frames.get(names)
        if frame is None:
            frame = self._frames[names] = self._make_frame(names)
        shown = [
            self._shown_result(frame, place, result.content) for place, result in enumerate(results)
        ]
        if any(special in text for special in self._special_texts() for text in shown):
            return self._join_guarded(frame.pieces, shown)
        return self._join_plain(frame.pieces, shown)

    def _special_texts(self) -> list[str]:
        return [*self._tokenizer.all_special_tokens, *self._stops.values()]

    def _join_plain(self, pieces: Sequence[str], shown: Sequence[str]) -> Suffix:
        """Tokenise scaffold and results as one text, as the model met them in training."""
        text = pieces[0]
        spans: list[tuple[int, int]] = []
        for content, piece in zip(shown, pieces[1:], strict=True):
            spans.append((len(text), len(text) + len(content)))
            text += content + piece
        encoded = self._tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        kinds = [_kind_of(int(start), int(end), spans) for start, end in encoded["offset_mapping"]]
        return Suffix(list(encoded["input_ids"]), kinds)

    def _join_guarded(self, pieces: Sequence[str], shown: Sequence[str]) -> Suffix:
        """A result that spells a control token is spelled out: a tool cannot end a turn."""
        ids = self._encode(pieces[0])
        kinds = [int(TokenKind.SCAFFOLD)] * len(ids)
        for content, piece in zip(shown, pieces[1:], strict=True):
            said = self._encode_as_text(content)
            around = self._encode(piece)
            ids += said + around
            kinds += [int(TokenKind.TOOL)] * len(said)
            kinds += [int(TokenKind.SCAFFOLD)] * len(around)
        return Suffix(ids, kinds)

    def _encode_as_text(self, content: str) -> list[int]:
        encoded = self._tokenizer(content, add_special_tokens=False, split_special_tokens=True)
        return list(encoded["input_ids"])

    def _encode(self, text: str) -> list[int]:
        return list(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    def _make_frame(self, names: tuple[str, ...]) -> _Frame:
        """Render marked dummies and cut the text at the marks."""
        failures: list[str] = []
        for messages in (_dummies(names, len(names)), _dummies(names, 1)):
            try:
                text = self._render(messages)
            except (TemplateError, ValueError, TypeError, KeyError) as error:
                failures.append(str(error))
                continue
            return self._cut(text, tuple(messages), len(names))
        raise TemplateRefused(f"it does not render tool results ({'; '.join(failures)})")

    def _cut(self, text: str, messages: tuple[dict[str, Any], ...], count: int) -> _Frame:
        marks = [f"{_RESULT}{place}x" for place in range(count)]
        first = text.find(marks[0])
        if first < 0:
            raise TemplateRefused("it does not show the results of tools")
        called = text.rfind(_ARGUMENT, 0, first)
        if called < 0:
            raise TemplateRefused("it does not show the calls that a turn made")
        called += len(_ARGUMENT)
        ends = [
            place + len(stop)
            for stop in self._stops.values()
            if (place := text.find(stop, called, first)) >= 0
        ]
        if not ends:
            raise TemplateRefused(
                "between a call and its result there is none of the stop tokens "
                + ", ".join(repr(stop) for stop in self._stops.values())
            )
        skipped = min(ends)
        pieces: list[str] = []
        rest = text[skipped:]
        for mark in marks:
            if rest.count(mark) != 1:
                raise TemplateRefused(f"it shows a result {rest.count(mark)} times, not once")
            piece, _, rest = rest.partition(mark)
            pieces.append(piece)
        return _Frame((*pieces, rest), messages, skipped)

    def _shown_result(self, frame: _Frame, place: int, content: str) -> str:
        """How the template writes this content: as it is, or quoted as JSON."""
        mark = f"{_RESULT}{place}x"
        messages = [
            {**message, "content": content} if message.get("content") == mark else message
            for message in frame.messages
        ]
        text = self._render(messages)[frame.skipped :]
        before, after = _around(frame.pieces, place)
        if not (text.startswith(before) and text.endswith(after)):
            raise TemplateRefused("what it puts around a result depends on the result")
        return text[len(before) : len(text) - len(after)]

    def _render(
        self, messages: Sequence[Mapping[str, Any]], tools: list[Mapping[str, Any]] | None = None
    ) -> str:
        return str(
            self._tokenizer.apply_chat_template(
                list(messages), tools=tools, add_generation_prompt=True, tokenize=False
            )
        )


def _plain(message: Mapping[str, Any]) -> dict[str, Any]:
    """The message as every template reads it: its content one text, its arguments an object.

    Rows may hold a list of text parts, no content, and arguments as JSON text, as the contract has
    them; a template would print the first two in Python's spelling and quote the last twice.
    """
    content = message.get("content")
    if isinstance(content, list):
        content = "\n".join(part["text"] for part in content)
    plain = {**message, "content": "" if content is None else content}
    if message.get("tool_calls"):
        plain["tool_calls"] = [_plain_call(call) for call in message["tool_calls"]]
    return plain


def _plain_call(call: Mapping[str, Any]) -> dict[str, Any]:
    function = call["function"]
    arguments = function["arguments"]
    if isinstance(arguments, str):
        arguments = json.loads(arguments)
    return {**call, "function": {**function, "arguments": arguments}}


def _around(pieces: Sequence[str], place: int) -> tuple[str, str]:
    """The text before and after one result, with the marks of the others in it."""
    before = pieces[0]
    for earlier in range(place):
        before += f"{_RESULT}{earlier}x{pieces[earlier + 1]}"
    after = pieces[place + 1]
    for later in range(place + 1, len(pieces) - 1):
        after += f"{_RESULT}{later}x{pieces[later + 1]}"
    return before, after


def _kind_of(start: int, end: int, spans: Sequence[tuple[int, int]]) -> int:
    inside = any(start < stop and end > begin for begin, stop in spans)
    return int(TokenKind.TOOL if inside else TokenKind.SCAFFOLD)


def _dummies(names: Sequence[str], calls: int) -> list[dict[str, Any]]:
    """A question, a turn with so many calls, and one marked result for each name."""
    made = [
        {
            "id": f"call{place:05d}",
            "type": "function",
            "function": {"name": name, "arguments": {"mark": _ARGUMENT}},
        }
        for place, name in enumerate(names[:calls])
    ]
    results = [
        {
            "role": "tool",
            "name": name,
            "tool_call_id": f"call{place:05d}",
            "content": f"{_RESULT}{place}x",
        }
        for place, name in enumerate(names)
    ]
    return [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": "", "tool_calls": made},
        *results,
    ]
