"""What the MCP library calls out through: the guarded client, to one address and nowhere else.

A failure never reaches the library as an exception, which would end the session for all calls in
it: it is noted in the `Exchange` of whoever asked, and the request is answered with a 502.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextvars import ContextVar
from dataclasses import dataclass

import httpx2

from hone.core.net.client import MIB, AsyncGuardedClient, OpenResponse
from hone.core.net.errors import OutboundError, OutboundFailed, OutboundTooLarge

MOST_STREAMED = 4 * MIB
"""Of one answer that comes as events: progress and logs come on the same stream."""
FAREWELL_S = 2.0
_OWN_HEADERS = frozenset({"accept-encoding", "connection", "content-length", "host", "user-agent"})
_FAILED = 502
_NOT_OFFERED = 405

# The library logs whole messages when it cannot read one, and a message may echo a secret.
for _name in ("mcp", "httpx2"):
    logging.getLogger(_name).addHandler(logging.NullHandler())
    logging.getLogger(_name).propagate = False


@dataclass
class Exchange:
    """What went over the wire for one call. The library carries it along from task to task."""

    timeout_s: float
    status: int | None = None
    received: int = 0
    error: OutboundError | None = None


EXCHANGE: ContextVar[Exchange] = ContextVar("EXCHANGE")


class GuardedTransport(httpx2.AsyncBaseTransport):
    """Sends every request to `url`, whatever address the library has come to."""

    def __init__(self, client: AsyncGuardedClient, url: str) -> None:
        self._client = client
        self._url = url

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        if request.method == "GET":
            # Nobody listens to what a server says of its own accord.
            return httpx2.Response(_NOT_OFFERED, request=request)
        exchange = EXCHANGE.get()
        try:
            answer = await self._client.open(
                request.method,
                self._url,
                headers={
                    name: value
                    for name, value in request.headers.items()
                    if name.lower() not in _OWN_HEADERS
                },
                content=await request.aread(),
                timeout_s=FAREWELL_S if request.method == "DELETE" else exchange.timeout_s,
            )
        except OutboundError as error:
            exchange.error = error
            return httpx2.Response(_FAILED, request=request)
        exchange.status = answer.status
        if 300 <= answer.status < 400:
            await answer.aclose()
            exchange.error = OutboundFailed(
                f"It answered HTTP {answer.status}; redirects are not followed: register the "
                "final URL.",
                sent=True,
            )
            return httpx2.Response(_FAILED, request=request)
        return httpx2.Response(
            answer.status,
            headers=answer.headers,
            stream=_Body(answer, exchange),
            request=request,
        )


class _Body(httpx2.AsyncByteStream):
    """The body of an answer, up to its limit; what is beyond is noted and breaks it off."""

    def __init__(self, answer: OpenResponse, exchange: Exchange) -> None:
        self._answer = answer
        self._exchange = exchange
        events = answer.headers.get("content-type", "").lower().startswith("text/event-stream")
        self._most = MOST_STREAMED if events else MIB
        self._events = events

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._answer.chunks(self._most):
                self._exchange.received += len(chunk)
                yield chunk
        except OutboundError as error:
            self._exchange.error = error
            if self._events and isinstance(error, OutboundTooLarge):
                self._exchange.error = OutboundFailed(
                    f"It sent more than {MOST_STREAMED} bytes of events for one call.", sent=True
                )
            raise httpx2.StreamError(error.message) from error

    async def aclose(self) -> None:
        await self._answer.aclose()
