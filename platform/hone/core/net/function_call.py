"""The wire contract of a tool: one POST a call, an answer with a text `output`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import msgspec

from hone.core.net.attempts import EndpointGuard, Sleep, finished, tried
from hone.core.net.calls import (
    LONGEST_TIMEOUT_S,
    MASK,
    CallLimits,
    CallOutcome,
    Effects,
    FunctionCall,
    Try,
    too_large,
    without_secrets,
)
from hone.core.net.client import MIB, AsyncGuardedClient, NetResponse
from hone.core.net.errors import (
    OutboundBlocked,
    OutboundError,
    OutboundInvalid,
    OutboundTooLarge,
)
from hone.core.net.headers import validate_headers

LONGEST_RETRY_AFTER_S = 60.0
TOO_MANY = 429
"""Worth another try later; the only 4xx that says nothing about the call itself."""
_UNGUARDED = EndpointGuard()

__all__ = [
    "MASK",
    "CallLimits",
    "CallOutcome",
    "Effects",
    "FunctionCall",
    "call_function",
    "request_body",
    "retry_after",
    "without_secrets",
]


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
    guard: EndpointGuard = _UNGUARDED,
    sleep: Sleep = asyncio.sleep,
) -> CallOutcome:
    """Call a tool until it answers or the attempts are used up; never raises for its faults."""
    started = time.perf_counter()
    content, refusal = _prepare(headers, call)
    if refusal is not None:
        return finished(refusal, headers, attempts=0, started=started)
    sent_headers = {
        **headers,
        "Content-Type": "application/json",
        "Idempotency-Key": idempotency_key,
    }
    return await tried(
        lambda: _attempt(client, url, sent_headers, content, call, limits),
        name=call.name,
        size=len(content),
        headers=headers,
        limits=limits,
        guard=guard,
        sleep=sleep,
    )


def _prepare(headers: Mapping[str, str], call: FunctionCall) -> tuple[bytes, Try | None]:
    try:
        validate_headers(headers)
        content = request_body(call)
    except OutboundInvalid as error:
        return b"", Try("fault", error=error.message, sent=False)
    except (UnicodeEncodeError, TypeError, ValueError, RecursionError) as error:
        return b"", Try("fault", error=f"The call cannot be written as JSON: {error}.", sent=False)
    if len(content) > MIB:
        return content, too_large(
            f"The request has {len(content)} bytes; tools take at most {MIB}."
        )
    return content, None


async def _attempt(
    client: AsyncGuardedClient,
    url: str,
    headers: Mapping[str, str],
    content: bytes,
    call: FunctionCall,
    limits: CallLimits,
) -> Try:
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
            return Try("fault", http_status=error.status, error=text, retry=True)
        return too_large(error.message, sent=True)
    except (OutboundBlocked, OutboundInvalid) as error:
        return Try("fault", error=error.message, sent=False)
    except OutboundError as error:
        text = f"{call.name}: {error.message}"
        return Try("fault", error=text, retry=True, sent=error.sent)
    return _judge(response, call)


def _judge(response: NetResponse, call: FunctionCall) -> Try:
    status, received = response.status, len(response.body)
    if 200 <= status < 300:
        output, problem = _output(response.body, call)
        if output is None:
            text = f"{call.name} answered HTTP {status}, but {problem}."
            return Try(
                "fault", http_status=status, received=received, error=text, reply=response.body
            )
        return Try("ok", output, http_status=status, received=received)
    if 400 <= status < 500:
        output, _ = _output(response.body, call)
        shown = output if output is not None else response.body.decode("utf-8", "replace")
        return Try(
            "tool_error",
            shown.replace("\x00", "\ufffd") or f"Error: HTTP {status}",
            http_status=status,
            received=received,
            error=f"{call.name} answered HTTP {status}.",
            retry=status == TOO_MANY,
            wait_s=retry_after(response.headers.get("retry-after", "")),
        )
    advice = "redirects are not followed: register the final URL" if 300 <= status < 400 else ""
    return Try(
        "fault",
        http_status=status,
        received=received,
        error=f"{call.name} answered HTTP {status}" + (f"; {advice}." if advice else "."),
        reply=response.body,
        retry=status >= 500,
        wait_s=retry_after(response.headers.get("retry-after", "")),
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


def retry_after(text: str) -> float | None:
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
