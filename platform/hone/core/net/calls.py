"""The nouns of a tool call, whatever it goes over, and the masking of what was sent with it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Status = Literal["ok", "tool_error", "fault"]
Effects = Literal["none", "reads", "writes"]

LONGEST_TIMEOUT_S = 600.0
MASK = "**********"
SHORTEST_SECRET = 6


@dataclass(frozen=True)
class FunctionCall:
    """What the model asked for. `arguments` is its JSON text, `item` the dataset row."""

    id: str
    call_id: str
    name: str
    arguments: str
    trace_id: str
    item: dict[str, Any]


@dataclass(frozen=True)
class CallLimits:
    """How long and how often a tool is tried. `max_attempts` counts the first one."""

    timeout_s: float = 60.0
    max_attempts: int = 4
    idempotent: bool = True
    effects: Effects = "reads"


@dataclass(frozen=True)
class CallOutcome:
    """What came of a call. The model sees `output` of `ok` and `tool_error`; a `fault` is nobody's
    answer, its `error` and the beginning of its `reply` are for people, and it never trains."""

    status: Status
    output: str | None
    http_status: int | None
    attempts: int
    seconds: float
    bytes_sent: int
    bytes_received: int
    error: str = ""
    reply: str = ""


@dataclass(frozen=True)
class Try:
    """One attempt. `retry`: another may help; `sent`: the tool may have acted already."""

    status: Status
    output: str | None = None
    http_status: int | None = None
    received: int = 0
    error: str = ""
    reply: bytes = b""
    retry: bool = False
    sent: bool = True
    wait_s: float | None = None


def too_large(text: str, *, sent: bool = False) -> Try:
    """What the model sees of a request or an answer that is over the limit."""
    return Try("tool_error", f"Error 413: {text}", http_status=413, error=text, sent=sent)


def without_secrets(text: str, headers: Mapping[str, str]) -> str:
    """The text with header values masked: a tool may send back what it was sent, and neither a
    page nor a trajectory keeps it. Values too short to be secrets stay."""
    for value in headers.values():
        for secret in (value, value.rsplit(" ", 1)[-1]):
            if len(secret) >= SHORTEST_SECRET:
                for form in _spellings(secret):
                    text = text.replace(form, MASK)
    return text


def _spellings(secret: str) -> list[str]:
    """The secret as it stands in text and in JSON, where some writers escape the slash too."""
    written = {secret, *(json.dumps(secret, ensure_ascii=ascii)[1:-1] for ascii in (True, False))}
    return sorted(written | {form.replace("/", "\\/") for form in written}, key=len, reverse=True)
