"""Calls to real servers on loopback that behave and that do not."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from hone.core.net.client import AsyncGuardedClient
from hone.core.net.errors import OutboundInvalid
from hone.core.net.function_call import CallLimits, CallOutcome, FunctionCall, call_function
from hone.core.net.headers import validate_headers
from hone.core.net.policy import OutboundPolicy

CALL = FunctionCall("fc_1", "call_1", "search", "{}", "trace_1", {"q": 1})
GOOD = b'{"output":"found"}'


def _http(body: bytes, status: str = "200 OK", extra: str = "") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{extra}\r\n"
    return head.encode() + body


async def _run(
    answers: list[list[bytes]],
    *,
    limits: CallLimits | None = None,
    call: FunctionCall = CALL,
    gap_s: float = 0.0,
) -> tuple[CallOutcome, list[bytes], list[float]]:
    """`answers`: the pieces that each request in turn is answered with; the last repeats."""
    requests: list[bytes] = []
    pauses: list[float] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                requests.append(head + await reader.readexactly(length))
                pieces = answers[min(len(requests), len(answers)) - 1]
                for piece in pieces:
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(gap_s)
                if not pieces or b"Connection: close" in pieces[0]:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        writer.close()

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    client = AsyncGuardedClient(OutboundPolicy.parse([f"127.0.0.1:{port}"]))
    outcome = await call_function(
        client,
        url=f"http://127.0.0.1:{port}/tool",
        headers={"X-Key": "secret"},
        call=call,
        limits=limits or CallLimits(timeout_s=2),
        idempotency_key="key-1",
        sleep=sleep,
    )
    await client.aclose()
    server.close()
    return outcome, requests, pauses


def test_an_answer_with_a_text_output_is_ok() -> None:
    outcome, requests, _ = asyncio.run(_run([[_http(GOOD)]]))
    assert (outcome.status, outcome.output, outcome.attempts) == ("ok", "found", 1)
    assert b"Idempotency-Key: key-1" in requests[0]
    assert b'"trace_id":"trace_1","item":{"q":1}' in requests[0]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "empty"),
        (b"<html>hello</html>", "no JSON"),
        (b'{"output":"\xff"}', "no JSON"),
        (b'{"output":NaN}', "no JSON"),
        (b"[" * 100_000, "nested"),
        (b'{"output":7}', "no text `output`"),
        (b'{"call_id":"other","output":"x"}', "call_id 'other'"),
    ],
)
def test_garbage_is_a_fault_that_says_what_was_wrong(body: bytes, says: str) -> None:
    outcome, _, _ = asyncio.run(_run([[_http(body)]]))
    assert (outcome.status, outcome.attempts) == ("fault", 1)
    assert says in outcome.error


@pytest.mark.parametrize("extra", ["Content-Encoding: gzip\r\n", f"X-Big: {'x' * 90_000}\r\n"])
def test_encoded_answers_and_huge_headers_are_faults(extra: str) -> None:
    outcome, _, _ = asyncio.run(_run([[_http(GOOD, extra=extra)]]))
    assert (outcome.status, outcome.output) == ("fault", None)


def test_a_redirect_is_not_followed() -> None:
    answer = _http(b"", "302 Found", "Location: http://127.0.0.1/\r\n")
    outcome, requests, _ = asyncio.run(_run([[answer]]))
    assert (outcome.status, len(requests)) == ("fault", 1)
    assert "redirects are not followed" in outcome.error


def test_a_4xx_is_shown_to_the_model() -> None:
    outcome, requests, _ = asyncio.run(_run([[_http(b'{"error":"no such order"}', "404 No")]]))
    assert (outcome.status, outcome.http_status) == ("tool_error", 404)
    assert outcome.output == '{"error":"no such order"}'
    assert len(requests) == 1


@pytest.mark.parametrize("status", ["503 Down", "200 OK", "302 Found"])
def test_the_reply_of_a_fault_is_kept_up_to_4_kb_and_without_secrets(status: str) -> None:
    body = b"x" * 4090 + b"secret and more"
    limits = CallLimits(timeout_s=2, max_attempts=1)
    outcome, _, _ = asyncio.run(_run([[_http(body, status)]], limits=limits))
    assert outcome.reply == "x" * 4090 + "******"
    outcome, _, _ = asyncio.run(_run([[_http(GOOD)]], limits=limits))
    assert outcome.reply == ""


def test_a_5xx_is_retried_with_one_key_and_the_pause_the_server_asks_for() -> None:
    bad = [_http(b"", "503 Busy", "Retry-After: 9999\r\n")]
    outcome, requests, pauses = asyncio.run(_run([bad, bad, [_http(GOOD)]]))
    assert (outcome.status, outcome.attempts) == ("ok", 3)
    assert pauses == [60.0, 60.0]
    assert all(b"Idempotency-Key: key-1" in request for request in requests)


def test_retries_end_after_four_attempts_and_a_broken_connection_is_a_fault() -> None:
    outcome, requests, pauses = asyncio.run(_run([[]]))
    assert (outcome.status, outcome.attempts, len(requests)) == ("fault", 4, 4)
    assert len(pauses) == 3


def test_a_tool_that_writes_is_not_called_again_once_it_may_have_acted() -> None:
    limits = CallLimits(timeout_s=2, idempotent=False, effects="writes")
    outcome, requests, _ = asyncio.run(_run([[_http(b"", "500 Oops")]], limits=limits))
    assert (outcome.status, outcome.attempts, len(requests)) == ("fault", 1, 1)


def test_an_answer_over_the_limit_reaches_the_model_as_a_413() -> None:
    for answer in ([_http(b"x" * 1_048_577)], [b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 2_000_000]):
        outcome, _, _ = asyncio.run(_run([answer]))
        assert (outcome.status, outcome.http_status) == ("tool_error", 413)
        assert outcome.output is not None
        assert outcome.output.startswith("Error 413")


def test_a_request_over_the_limit_is_never_sent() -> None:
    call = replace(CALL, item={"x": "y" * 1_048_576})
    outcome, requests, _ = asyncio.run(_run([[_http(GOOD)]], call=call))
    assert (outcome.status, outcome.attempts, requests) == ("tool_error", 0, [])


def test_a_drip_ends_at_the_one_deadline() -> None:
    limits = CallLimits(timeout_s=0.3, max_attempts=1)
    for head in (b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n"):
        pieces = [head, *[b"x"] * 99]
        outcome, _, _ = asyncio.run(_run([pieces], limits=limits, gap_s=0.02))
        assert outcome.status == "fault"
        assert "within 0.3 s" in outcome.error
        assert outcome.seconds < 0.8


def test_an_answer_shorter_than_announced_is_a_fault() -> None:
    short = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 99\r\n\r\n" + GOOD
    limits = CallLimits(timeout_s=2, max_attempts=1)
    outcome, _, _ = asyncio.run(_run([[short]], limits=limits))
    assert outcome.status == "fault"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Host", "x"),
        ("proxy-a", "x"),
        ("A B", "x"),
        ("", "x"),
        ("X", "a\r\nb"),
        ("X", "a\x00"),
        ("X", "y" * 8193),
        ("X", "\u20ac"),
    ],
)
def test_a_header_that_could_break_the_request_is_refused(name: str, value: str) -> None:
    with pytest.raises(OutboundInvalid):
        validate_headers({name: value})
