"""The chat format of judges: what is sent, and what is read of the reply before its meaning."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from graders.kinds.base import TokenUsage
from hone.core.net.line import NoAnswer, shown

MOST_TOKENS = 10**12
LONGEST_MODEL = 200


class UnusableReply(Exception):
    """The judge replied, and what is wanted cannot be read from it. `refusal`: it would not."""

    def __init__(self, reason: str, *, refusal: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.refusal = refusal


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """What a judge is asked: the chat, and the one schema that its answer must follow."""

    messages: Sequence[Mapping[str, Any]]
    name: str
    """Of the schema."""
    schema: Mapping[str, Any]
    sampling: Mapping[str, Any] = msgspec.field(default_factory=dict)
    """In the words of the chat API; what is not said is left to the judge."""


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """One reply in full; `model` is the name that the judge gives itself."""

    content: str | None
    refusal: str = ""
    cut: bool = False
    model: str = ""
    usage: TokenUsage = TokenUsage()

    def document(self) -> Any:
        """The JSON that was asked for; raises UnusableReply."""
        if self.refusal:
            raise UnusableReply(f"the judge refused: {shown(self.refusal)}", refusal=True)
        if self.cut:
            raise UnusableReply("the judge's reply was cut at its length limit")
        if self.content is None:
            raise UnusableReply("the judge's reply has no text content")
        try:
            return json.loads(self.content)
        except (ValueError, RecursionError) as error:
            text = shown(self.content[:80])
            raise UnusableReply(f"what the judge wrote is no JSON: {text}") from error


def request_body(model: str, question: Question) -> bytes:
    """No temperature unless the author gives one: several models refuse any but their own."""
    schema = {"name": question.name, "strict": True, "schema": question.schema}
    told = {
        "model": model,
        "messages": list(question.messages),
        "response_format": {"type": "json_schema", "json_schema": schema},
        **question.sampling,
    }
    return json.dumps(told).encode()


def read_reply(text: str) -> Reply:
    """Raises NoAnswer where this is no chat completion: then it is not the model that spoke."""
    try:
        reply = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise NoAnswer("down", f"the judge's reply is no JSON: {shown(text[:80])}") from error
    try:
        choice = reply["choices"][0]
        message, finish = choice["message"], choice.get("finish_reason")
        refusal, content = message.get("refusal"), message.get("content")
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise NoAnswer("down", "the judge's reply has no choices[0].message") from error
    if finish == "content_filter":
        refusal = refusal or finish
    model = reply.get("model")
    return Reply(
        content=content if isinstance(content, str) else None,
        refusal=str(refusal) if refusal else "",
        cut=finish == "length",
        model=shown(model)[:LONGEST_MODEL] if isinstance(model, str) else "",
        usage=usage_of(reply.get("usage")),
    )


def usage_of(told: Any) -> TokenUsage:
    if not isinstance(told, dict):
        return TokenUsage()
    prompt, completion = _count(told, "prompt_tokens"), _count(told, "completion_tokens")
    return TokenUsage(
        prompt_tokens=prompt,
        completion_tokens=completion,
        total_tokens=_count(told, "total_tokens") or prompt + completion,
        cached_tokens=_count(told.get("prompt_tokens_details"), "cached_tokens"),
    )


def _count(told: Any, name: str) -> int:
    value = told.get(name) if isinstance(told, dict) else None
    return value if type(value) is int and 0 <= value <= MOST_TOKENS else 0
