"""The one client through which the platform calls out.

No proxy variables, no redirects, no decoding: an answer in any content encoding is refused, so no
small answer can become a large one. One absolute deadline covers name lookup, connection, TLS,
headers and body.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import httpcore2

from hone.core.net.backend import GuardedBackend, Resolver, resolve
from hone.core.net.errors import (
    OutboundError,
    OutboundFailed,
    OutboundInvalid,
    OutboundTimeout,
    OutboundTooLarge,
)
from hone.core.net.policy import OutboundPolicy
from hone.core.net.target import Target, parse_url

MIB = 1024 * 1024
LONGEST_HEADERS = 64 * 1024
MOST_CONNECTIONS = 256
# At DEBUG it writes whole heads of answers, and a tool may put into one what it was sent.
logging.getLogger("httpcore2").setLevel(logging.WARNING)
# Below the five seconds after which common servers close an idle connection.
IDLE_S = 4.0


@dataclass(frozen=True)
class NetResponse:
    """An answer, whatever its status. Header names are lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


@cache
def _tls() -> ssl.SSLContext:
    context: ssl.SSLContext = httpcore2.default_ssl_context()
    return context


class _Exchange:
    """One request and its answer, under one deadline.

    `sent` once the server may have a whole request to act on.
    """

    def __init__(self, timeout_s: float) -> None:
        self.sent = False
        self._timeout_s = timeout_s
        self._ends = asyncio.get_running_loop().time() + timeout_s

    async def __call__(self, event: str, info: Mapping[str, Any]) -> None:
        if event == "http11.send_request_headers.started":
            self.sent = True
        elif event == "http11.send_request_headers.failed":
            self.sent = False

    @asynccontextmanager
    async def told(self) -> AsyncIterator[None]:
        """What goes wrong inside is raised as the `OutboundError` that says so."""
        try:
            async with asyncio.timeout_at(self._ends):
                yield
        except (TimeoutError, httpcore2.TimeoutException) as error:
            raise OutboundTimeout(
                f"No complete answer within {self._timeout_s:g} s.", sent=self.sent
            ) from error
        except httpcore2.LocalProtocolError as error:
            raise OutboundInvalid(f"The request cannot be sent: {error}.") from error
        except (httpcore2.NetworkError, httpcore2.ProtocolError, ssl.SSLError, OSError) as error:
            raise OutboundFailed(_reason(error, self.sent), sent=self.sent) from error


class OpenResponse:
    """An answer whose body is still to be read. Header names are lower case."""

    def __init__(
        self, answer: httpcore2.Response, headers: dict[str, str], exchange: _Exchange
    ) -> None:
        self.status: int = answer.status
        self.headers = headers
        self._answer = answer
        self._exchange = exchange

    async def chunks(self, max_bytes: int) -> AsyncIterator[bytes]:
        """The body, piece by piece; raises `OutboundTooLarge` beyond `max_bytes`."""
        announced = self.headers.get("content-length", "")
        if announced.isdigit() and int(announced[:20]) > max_bytes:
            raise _too_large(f"{announced[:20]} bytes", max_bytes, self.status)
        stream: AsyncIterator[bytes] = aiter(self._answer.aiter_stream())
        received = 0
        while True:
            async with self._exchange.told():
                chunk = await anext(stream, None)
            if chunk is None:
                return
            received += len(chunk)
            if received > max_bytes:
                raise _too_large(f"more than {max_bytes} bytes", max_bytes, self.status)
            yield chunk

    async def aclose(self) -> None:
        """Give the connection back, or end it where something is still to come."""
        await self._answer.aclose()


class AsyncGuardedClient:
    """Posts to addresses that `policy` lets through, over kept-alive connections.

    A connection is judged when it is opened and stays with the address it was opened to. The pool
    belongs to the running event loop; in another loop the client begins a new one.
    """

    def __init__(self, policy: OutboundPolicy, *, resolver: Resolver = resolve) -> None:
        self._backend = GuardedBackend(policy, resolver)
        self._pool: httpcore2.AsyncConnectionPool | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def post(
        self,
        url: str,
        *,
        headers: Mapping[str, str],
        content: bytes,
        timeout_s: float,
        max_bytes: int = MIB,
    ) -> NetResponse:
        """Send `content`; raises an `OutboundError` of the kind that says what went wrong."""
        async with aclosing(
            await self.open("POST", url, headers=headers, content=content, timeout_s=timeout_s)
        ) as answer:
            body = bytearray()
            async for chunk in answer.chunks(max_bytes):
                body += chunk
        return NetResponse(answer.status, answer.headers, bytes(body))

    async def open(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        content: bytes,
        timeout_s: float,
    ) -> OpenResponse:
        """Send `content` and read the head of the answer; whoever asks closes it."""
        exchange = _Exchange(timeout_s)
        request = _request(method, parse_url(url), headers, content, exchange)
        async with exchange.told():
            answer = await self._connections().handle_async_request(request)
            try:
                return OpenResponse(answer, _headers(answer), exchange)
            except OutboundError:
                await answer.aclose()
                raise

    async def aclose(self) -> None:
        """Close the idle connections."""
        if self._pool is not None and self._loop is asyncio.get_running_loop():
            await self._pool.aclose()
        self._pool = None

    def _connections(self) -> httpcore2.AsyncConnectionPool:
        loop = asyncio.get_running_loop()
        if self._pool is None or self._loop is not loop:
            self._loop = loop
            self._pool = httpcore2.AsyncConnectionPool(
                ssl_context=_tls(),
                max_connections=MOST_CONNECTIONS,
                max_keepalive_connections=MOST_CONNECTIONS,
                keepalive_expiry=IDLE_S,
                network_backend=self._backend,
            )
        return self._pool


def post_sync(
    policy: OutboundPolicy,
    url: str,
    *,
    headers: Mapping[str, str],
    content: bytes,
    timeout_s: float,
    max_bytes: int = MIB,
) -> NetResponse:
    """One request from code that has no event loop."""

    async def once() -> NetResponse:
        client = AsyncGuardedClient(policy)
        try:
            return await client.post(
                url, headers=headers, content=content, timeout_s=timeout_s, max_bytes=max_bytes
            )
        finally:
            await client.aclose()

    return asyncio.run(once())


def _request(
    method: str, target: Target, headers: Mapping[str, str], content: bytes, exchange: _Exchange
) -> httpcore2.Request:
    try:
        lines = [(name.encode("ascii"), value.encode("latin-1")) for name, value in headers.items()]
    except UnicodeEncodeError as error:
        raise OutboundInvalid("A header holds a character that headers cannot carry.") from error
    lines += [
        (b"Host", target.host_header.encode("ascii")),
        (b"Accept-Encoding", b"identity"),
        (b"Content-Length", str(len(content)).encode("ascii")),
    ]
    return httpcore2.Request(
        method.encode("ascii"),
        httpcore2.URL(
            scheme=target.scheme.encode("ascii"),
            host=target.host.encode("ascii"),
            port=target.port,
            target=target.path.encode("ascii"),
        ),
        headers=lines,
        content=content,
        extensions={"trace": exchange},
    )


def _headers(response: httpcore2.Response) -> dict[str, str]:
    size = sum(len(name) + len(value) + 4 for name, value in response.headers)
    if size > LONGEST_HEADERS:
        raise OutboundFailed(
            f"The answer's headers have {size} bytes; at most {LONGEST_HEADERS} are read.",
            sent=True,
        )
    headers = {
        name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers
    }
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if encoding not in {"", "identity"}:
        raise OutboundFailed(
            f"The answer is encoded as {encoding[:40]!r}, though it was asked for plain.", sent=True
        )
    return headers


def _too_large(size: str, max_bytes: int, status: int) -> OutboundTooLarge:
    return OutboundTooLarge(
        f"The answer has {size}; at most {max_bytes} bytes are read.", status=status
    )


def _reason(error: Exception, sent: bool) -> str:
    if isinstance(error, httpcore2.ConnectError) or not sent:
        return "No connection could be made."
    if isinstance(error, httpcore2.ProtocolError):
        return "The server broke off or did not answer in HTTP."
    return "The connection broke before the answer was complete."
