"""Which hosts, addresses and ports may be called: public ones, and what the operator allowed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network

from hone.core.net.addresses import Address, is_public, plain
from hone.core.net.errors import OutboundBlocked

_WEB_PORTS = {80, 443}
_FIRST_FREE_PORT = 1024


@dataclass(frozen=True)
class Allowed:
    """One entry of the operator's list: a network or a host name, on one port or on all."""

    network: IPv4Network | IPv6Network | None
    host: str
    port: int | None


@dataclass(frozen=True)
class OutboundPolicy:
    """Public addresses on web and unprivileged ports, and the operator's exceptions."""

    allowed: tuple[Allowed, ...] = ()

    @classmethod
    def parse(cls, allow: Sequence[str]) -> OutboundPolicy:
        """Read entries `CIDR`, `CIDR:port`, `host:port`, `[v6]:port`; ValueError if bad."""
        return cls(tuple(_entry(text.strip()) for text in allow))

    def check(self, host: str, port: int, addresses: Sequence[Address]) -> None:
        """Raise `OutboundBlocked` unless every address of `host` may be called on `port`."""
        if not addresses or not all(self._may(host, port, address) for address in addresses):
            raise OutboundBlocked

    def _may(self, host: str, port: int, address: Address) -> bool:
        address = plain(address)
        for entry in self.allowed:
            if entry.port not in {None, port}:
                continue
            if entry.port is None and not _usual_port(port):
                continue
            if entry.network is None and entry.host == host:
                return True
            if entry.network is not None and address in entry.network:
                return True
        return _usual_port(port) and is_public(address)


def _usual_port(port: int) -> bool:
    return port in _WEB_PORTS or port >= _FIRST_FREE_PORT


def _network(text: str) -> IPv4Network | IPv6Network | None:
    try:
        return ip_network(text, strict=False)
    except ValueError:
        return None


def _entry(text: str) -> Allowed:
    network = _network(text)
    if network is not None:
        return Allowed(network, "", None)
    host, colon, port_text = text.rpartition(":")
    if not colon or not port_text.isascii() or not port_text.isdigit():
        raise ValueError(
            f"{text!r} is no entry for allowed addresses. Write CIDR, CIDR:port, host:port or "
            "[IPv6]:port, for example 10.0.0.0/8 or 127.0.0.1:8090."
        )
    port = int(port_text)
    if not 0 < port < 65536:
        raise ValueError(f"{text!r} names port {port}; ports go from 1 to 65535.")
    bracketed = host.startswith("[") and host.endswith("]")
    network = _network(host[1:-1] if bracketed else host)
    if network is not None:
        return Allowed(network, "", port)
    if not host or bracketed or any(letter in host for letter in ":/@ []"):
        raise ValueError(f"{text!r} names no host or network before its port.")
    return Allowed(None, host.lower().rstrip("."), port)
