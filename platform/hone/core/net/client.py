"""The one client through which the platform calls out.

No proxy variables, no redirects, no decoding: an answer in any content encoding is refused, so no
small answer can become a large one. One absolute deadline covers name lookup, connection, TLS,
headers and body.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import httpcore2

from hone.core.net.backend import GuardedBackend, Resolver, resolve
from hone.core.net.errors import (
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


class _Progress:
    """Follows one exchange: `sent` once the server may have a whole request to act on."""

    def __init__(self) -> None:
        self.sent = False

    async def __call__(self, event: str, info: Mapping[str, Any]) -> None:
        if event == "http11.send_request_headers.started":
            self.sent = True
        elif event == "http11.send_request_headers.failed":
            self.sent = False


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
        target = parse_url(url)
        progress = _Progress()
        request = _request(target, headers, content, progress)
        try:
            async with asyncio.timeout(timeout_s):
                return await self._exchange(request, max_bytes)
        except (TimeoutError, httpcore2.TimeoutException) as error:
            raise OutboundTimeout(
                f"No complete answer within {timeout_s:g} s.", sent=progress.sent
            ) from error
        except httpcore2.LocalProtocolError as error:
            raise OutboundInvalid(f"The request cannot be sent: {error}.") from error
        except (httpcore2.NetworkError, httpcore2.ProtocolError, ssl.SSLError, OSError) as error:
            raise OutboundFailed(_reason(error, progress.sent), sent=progress.sent) from error

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

    async def _exchange(self, request: httpcore2.Request, max_bytes: int) -> NetResponse:
        response = await self._connections().handle_async_request(request)
        try:
            headers = _headers(response)
            body = await _body(response, headers, max_bytes)
        finally:
            await response.aclose()
        return NetResponse(response.status, headers, body)


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
    target: Target, headers: Mapping[str, str], content: bytes, progress: _Progress
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
        b"POST",
        httpcore2.URL(
            scheme=target.scheme.encode("ascii"),
            host=target.host.encode("ascii"),
            port=target.port,
            target=target.path.encode("ascii"),
        ),
        headers=lines,
        content=content,
        extensions={"trace": progress},
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


async def _body(response: httpcore2.Response, headers: Mapping[str, str], max_bytes: int) -> bytes:
    announced = headers.get("content-length", "")
    if announced.isdigit() and int(announced[:20]) > max_bytes:
        raise _too_large(f"{announced[:20]} bytes", max_bytes, response.status)
    stream: AsyncIterator[bytes] = response.aiter_stream()
    body = bytearray()
    async for chunk in stream:
        body += chunk
        if len(body) > max_bytes:
            raise _too_large(f"more than {max_bytes} bytes", max_bytes, response.status)
    return bytes(body)


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
