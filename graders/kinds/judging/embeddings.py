"""The embeddings format: what is sent, and what is read of the reply."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import msgspec

from graders.kinds.base import TokenUsage
from graders.kinds.judging.chat import LONGEST_MODEL, usage_of
from hone.core.net.line import NoAnswer, shown


class Embedded(msgspec.Struct, frozen=True, kw_only=True):
    """One vector a text, all of one length; `model` is the name that the endpoint gives it."""

    vectors: Sequence[Sequence[float]]
    model: str = ""
    usage: TokenUsage = TokenUsage()


def embeddings_body(model: str, texts: Sequence[str]) -> bytes:
    told = {"model": model, "input": list(texts), "encoding_format": "float"}
    return json.dumps(told).encode()


def read_embeddings(text: str, count: int) -> Embedded:
    """Raises NoAnswer where there is not a finite vector for each of `count` texts."""
    try:
        reply = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise NoAnswer("down", f"the endpoint's reply is no JSON: {shown(text[:80])}") from error
    try:
        rows = {row["index"]: row["embedding"] for row in reply["data"]}
        vectors = [_vector(rows[place]) for place in range(count)]
    except (KeyError, TypeError, AttributeError) as error:
        raise NoAnswer("unusable", f"the reply has no {count} embeddings of numbers") from error
    if len({len(vector) for vector in vectors}) != 1:
        raise NoAnswer("unusable", "the embeddings differ in length")
    model = reply.get("model")
    return Embedded(
        vectors=vectors,
        model=shown(model)[:LONGEST_MODEL] if isinstance(model, str) else "",
        usage=usage_of(reply.get("usage")),
    )


def _vector(given: Any) -> list[float]:
    """Raises TypeError where it is no vector of finite numbers."""
    if not isinstance(given, list) or not given:
        raise TypeError("no vector")
    if not all(type(number) in {int, float} and abs(number) <= 1e100 for number in given):
        raise TypeError("no finite numbers")
    return [float(number) for number in given]
