"""The wire contract of a tool: one POST a call, an answer with a text `output`."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Literal

import msgspec

from hone.core.net.client import MIB, AsyncGuardedClient, NetResponse
from hone.core.net.errors import (
    OutboundBlocked,
    OutboundError,
    OutboundInvalid,
    OutboundTooLarge,
)
from hone.core.net.headers import validate_headers

Status = Literal["ok", "tool_error", "fault"]
Effects = Literal["none", "reads", "writes"]
Sleep = Callable[[float], Awaitable[Any]]

LONGEST_TIMEOUT_S = 600.0
LONGEST_RETRY_AFTER_S = 60.0
MASK = "**********"
SHORTEST_SECRET = 6
LONGEST_REPLY = 4096
FIRST_PAUSE_S = 0.25
LONGEST_PAUSE_S = 8.0
_JITTER = random.SystemRandom()


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
class _Try:
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


def request_body(call: FunctionCall) -> bytes:
    """The JSON that a tool receives."""
    return msgspec.json.encode(
        {
            "type": "function_call",
            "id": call.id,
            "call_id": call.call_id,
            "name": call.name,
            "arguments": call.arguments,
            "trace_id": call.trace_id,
            "item": call.item,
        }
    )


async def call_function(
    client: AsyncGuardedClient,
    *,
    url: str,
    headers: Mapping[str, str],
    call: FunctionCall,
    limits: CallLimits,
    idempotency_key: str,
    sleep: Sleep = asyncio.sleep,
) -> CallOutcome:
    """Call a tool until it answers or the attempts are used up; never raises for its faults."""
    started = time.perf_counter()
    content, refusal = _prepare(headers, call)
    attempts, sent_bytes, received = 0, 0, 0
    outcome = refusal
    sent_headers = {
        **headers,
        "Content-Type": "application/json",
        "Idempotency-Key": idempotency_key,
    }
    while outcome is None or (attempts < limits.max_attempts and _again(outcome, limits)):
        if outcome is not None:
            await sleep(_pause(attempts, outcome.wait_s))
        outcome = await _attempt(client, url, sent_headers, content, call, limits)
        attempts += 1
        received += outcome.received
        sent_bytes += len(content) if outcome.sent else 0
    return CallOutcome(
        status=outcome.status,
        output=None if outcome.output is None else without_secrets(outcome.output, headers),
        http_status=outcome.http_status,
        attempts=attempts,
        seconds=time.perf_counter() - started,
        bytes_sent=sent_bytes,
        bytes_received=received,
        error=without_secrets(outcome.error, headers),
        # Masked before it is cut: half a secret would not be recognised.
        reply=without_secrets(outcome.reply.decode("utf-8", "replace"), headers)[:LONGEST_REPLY],
    )


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


def _prepare(headers: Mapping[str, str], call: FunctionCall) -> tuple[bytes, _Try | None]:
    try:
        validate_headers(headers)
        content = request_body(call)
    except OutboundInvalid as error:
        return b"", _Try("fault", error=error.message, sent=False)
    except (UnicodeEncodeError, TypeError, ValueError, RecursionError) as error:
        return b"", _Try("fault", error=f"The call cannot be written as JSON: {error}.", sent=False)
    if len(content) > MIB:
        return content, _too_large(
            f"The request has {len(content)} bytes; tools take at most {MIB}."
        )
    return content, None


def _again(outcome: _Try, limits: CallLimits) -> bool:
    repeatable = limits.idempotent or limits.effects != "writes" or not outcome.sent
    return outcome.retry and repeatable


def _pause(attempts: int, wait_s: float | None) -> float:
    if wait_s is not None:
        return wait_s
    longest = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** (attempts - 1))
    return _JITTER.uniform(longest / 2, longest)


async def _attempt(
    client: AsyncGuardedClient,
    url: str,
    headers: Mapping[str, str],
    content: bytes,
    call: FunctionCall,
    limits: CallLimits,
) -> _Try:
    try:
        response = await client.post(
            url,
            headers=headers,
            content=content,
            timeout_s=min(limits.timeout_s, LONGEST_TIMEOUT_S),
            max_bytes=MIB,
        )
    except OutboundTooLarge as error:
        if error.status >= 500:
            text = f"{call.name} answered HTTP {error.status}. {error.message}"
            return _Try("fault", http_status=error.status, error=text, retry=True)
        return _too_large(error.message, sent=True)
    except (OutboundBlocked, OutboundInvalid) as error:
        return _Try("fault", error=error.message, sent=False)
    except OutboundError as error:
        text = f"{call.name}: {error.message}"
        return _Try("fault", error=text, retry=True, sent=error.sent)
    return _judge(response, call)


def _too_large(text: str, *, sent: bool = False) -> _Try:
    return _Try("tool_error", f"Error 413: {text}", http_status=413, error=text, sent=sent)


def _judge(response: NetResponse, call: FunctionCall) -> _Try:
    status, received = response.status, len(response.body)
    if 200 <= status < 300:
        output, problem = _output(response.body, call)
        if output is None:
            text = f"{call.name} answered HTTP {status}, but {problem}."
            return _Try(
                "fault", http_status=status, received=received, error=text, reply=response.body
            )
        return _Try("ok", output, http_status=status, received=received)
    if 400 <= status < 500:
        output, _ = _output(response.body, call)
        shown = output if output is not None else response.body.decode("utf-8", "replace")
        return _Try(
            "tool_error",
            shown.replace("\x00", "\ufffd") or f"Error: HTTP {status}",
            http_status=status,
            received=received,
            error=f"{call.name} answered HTTP {status}.",
        )
    advice = "redirects are not followed: register the final URL" if 300 <= status < 400 else ""
    return _Try(
        "fault",
        http_status=status,
        received=received,
        error=f"{call.name} answered HTTP {status}" + (f"; {advice}." if advice else "."),
        reply=response.body,
        retry=status >= 500,
        wait_s=_retry_after(response.headers.get("retry-after", "")),
    )


def _output(body: bytes, call: FunctionCall) -> tuple[str | None, str]:
    """The text of a reply, or None and what is wrong with it."""
    if not body:
        return None, "the body is empty where JSON with a text `output` must be"
    try:
        reply = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return None, f"the body is no JSON ({error})"
    except RecursionError:
        return None, "the body's JSON is nested too deeply"
    if isinstance(reply, dict) and "output" not in reply and isinstance(reply.get("result"), dict):
        reply = reply["result"]
    if not isinstance(reply, dict) or not isinstance(reply.get("output"), str):
        return None, "the JSON has no text `output`"
    if reply.get("call_id") not in {None, call.call_id}:
        given = str(reply["call_id"])[:60]
        return None, f"it answers call_id {given!r} where {call.call_id!r} was asked"
    return reply["output"], ""


def _retry_after(text: str) -> float | None:
    """Seconds to wait as the server asks, at most a minute; None where it does not say."""
    text = text.strip()
    if not text:
        return None
    if text.isascii() and text.isdigit():
        return min(float(text[:6]), LONGEST_RETRY_AFTER_S)
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, IndexError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    wait = (moment - datetime.now(UTC)).total_seconds()
    return min(max(wait, 0.0), LONGEST_RETRY_AFTER_S)
