"""The messages that an author writes for a judge, with templates inside."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from graders.kinds.spec import SpecReader
from graders.kinds.templates import Template

ROLES = ("user", "assistant", "system", "developer")
TEXT_PARTS = ("input_text", "output_text", "text")
OTHER_PARTS = ("input_image", "input_audio", "image_url")
MOST_MESSAGES = 64
_CONTROL = re.compile(
    r"<[|\uff5c][^|\uff5c<>\n]{1,60}[|\uff5c]>"
    r"|</?s>|<(?:start|end)_of_turn>|\[/?INST\]|<</?SYS>>",
    re.IGNORECASE,
)
_BREAK = "\u200b"


@dataclass(frozen=True)
class Message:
    """One message; `parts` are texts."""

    role: str
    parts: tuple[Template, ...]

    def render(self, namespaces: Mapping[str, Any]) -> dict[str, Any]:
        """In the chat API's words; raises MissingVariable."""
        texts = [_whole(part.render(namespaces, quote=quoted)) for part in self.parts]
        if len(texts) == 1:
            return {"role": self.role, "content": texts[0]}
        return {"role": self.role, "content": [{"type": "text", "text": text} for text in texts]}

    def variables(self) -> frozenset[str]:
        return frozenset[str]().union(*(part.variables() for part in self.parts))


def read_messages(spec: SpecReader, key: str) -> tuple[Message, ...]:
    """The messages at `key`; raises GraderSpecError with the place."""
    value = spec.value(key)
    if not isinstance(value, list) or not value:
        raise spec.refuse(
            key, 'It is no list of messages. Write [{"role": "user", "content": "…"}].'
        )
    if len(value) > MOST_MESSAGES:
        raise spec.refuse(key, f"{len(value)} messages; at most {MOST_MESSAGES} are possible.")
    return tuple(_message(spec, f"{key}[{index}]", each) for index, each in enumerate(value))


def quoted(text: str) -> str:
    """What the policy wrote, with control tokens of chat templates broken by a space of no width:
    many servers would take `<|im_end|>` inside a message for its end."""
    return _CONTROL.sub(lambda found: found[0][0] + _BREAK + found[0][1:], text)


def _message(spec: SpecReader, place: str, given: Any) -> Message:
    if not isinstance(given, Mapping):
        raise spec.refuse(place, "A message is an object with a `role` and a `content`.")
    for key in given:
        if key not in {"role", "content", "type"}:
            raise spec.refuse(
                f"{place}.{str(key)[:60]}",
                "A message has `role` and `content`, and `type` may be `message`.",
            )
    if given.get("type") not in {None, "message"}:
        raise spec.refuse(f"{place}.type", "The only type of a message is `message`.")
    role = given.get("role")
    if role not in ROLES:
        raise spec.refuse(f"{place}.role", f"It is none of {', '.join(ROLES)}.")
    content = given.get("content")
    parts = content if isinstance(content, list) else [content]
    if not parts:
        raise spec.refuse(f"{place}.content", "It is empty. Write what the judge is to read.")
    places = [f"{place}.content[{n}]" for n in range(len(parts))]
    if not isinstance(content, list):
        places = [f"{place}.content"]
    return Message(
        str(role),
        tuple(_part(spec, where, part) for where, part in zip(places, parts, strict=True)),
    )


def _part(spec: SpecReader, place: str, given: Any) -> Template:
    if isinstance(given, Mapping):
        kind = given.get("type")
        if kind in OTHER_PARTS:
            raise spec.refuse(
                f"{place}.type",
                f"Judges read text here, and {kind} is none. Describe it in an input_text part, or "
                "use an endpoint grader.",
            )
        if kind not in TEXT_PARTS:
            raise spec.refuse(f"{place}.type", f"It is none of {', '.join(TEXT_PARTS)}.")
        place, given = f"{place}.text", given.get("text")
    if not isinstance(given, str):
        raise spec.refuse(place, "It is no text. Write it in quotes.")
    return Template(given, param=spec.place(place))


def _whole(text: str) -> str:
    """Without lone surrogates, which no server takes."""
    return text.encode("utf-8", "replace").decode()
