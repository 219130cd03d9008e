"""Opens connections: resolve once, judge every address, connect to the judged literal."""

from __future__ import annotations

import asyncio
import select
import socket
import ssl
import threading
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import Future
from ipaddress import ip_address
from typing import Any

import httpcore2

from hone.core.net.addresses import Address
from hone.core.net.errors import OutboundFailed
from hone.core.net.policy import OutboundPolicy

Resolver = Callable[[str, int], Awaitable[list[Address]]]
CONNECT_TIMEOUT_S = 10.0


async def resolve(host: str, port: int) -> list[Address]:
    """Every address of `host`, as the system knows it.

    In a thread that nobody waits for: a loop's own executor is joined when the loop ends, so one
    slow name server would hold its caller far beyond the deadline.
    """
    answer: Future[list[Any]] = Future()
    answer.set_running_or_notify_cancel()
    threading.Thread(target=_look_up, args=(host, port, answer), daemon=True).start()
    try:
        found = await asyncio.wrap_future(answer)
    except (OSError, UnicodeError) as error:
        raise OutboundFailed(f"The host name {host} cannot be resolved.") from error
    return list(dict.fromkeys(ip_address(row[4][0]) for row in found))


def _look_up(host: str, port: int, answer: Future[list[Any]]) -> None:
    try:
        answer.set_result(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
    except (OSError, UnicodeError) as error:
        answer.set_exception(error)


class GuardedBackend(httpcore2.AsyncNetworkBackend):
    """No name is looked up a second time, so an answer that changes gains nothing."""

    def __init__(self, policy: OutboundPolicy, resolver: Resolver = resolve) -> None:
        self._policy = policy
        self._resolver = resolver
        self._plain = httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        addresses = await self._addresses(host, port)
        self._policy.check(host, port, addresses)
        for address in addresses[:-1]:
            try:
                return await self._open(address, port)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout):
                continue
        return await self._open(addresses[-1], port)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def _addresses(self, host: str, port: int) -> list[Address]:
        try:
            return [ip_address(host)]
        except ValueError:
            return await self._resolver(host, port)

    async def _open(self, address: Address, port: int) -> httpcore2.AsyncNetworkStream:
        stream = await self._plain.connect_tcp(str(address), port, timeout=CONNECT_TIMEOUT_S)
        return WatchedStream(stream)


class WatchedStream(httpcore2.AsyncNetworkStream):
    """A connection that can tell cheaply whether the other side has closed it.

    The pool asks every idle connection that at each request, and the library's own way of finding
    out took as long as half of what a tool call costs here.
    """

    def __init__(self, stream: httpcore2.AsyncNetworkStream) -> None:
        self._stream = stream
        self._poll = select.poll()
        connection = stream.get_extra_info("socket")
        self._watched = connection is not None
        if self._watched:
            self._poll.register(connection.fileno(), select.POLLIN)

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return await self._stream.read(max_bytes, timeout)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        return WatchedStream(await self._stream.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> Any:
        if info == "is_readable" and self._watched:
            return bool(self._poll.poll(0))
        return self._stream.get_extra_info(info)
