"""Takes a URL apart, strictly: what cannot be read in one way only is refused."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from urllib.parse import quote, urlsplit

from hone.core.net.errors import OutboundBlocked, OutboundInvalid

_HOST = re.compile(r"(?=.{1,253}\Z)[a-z0-9_]([a-z0-9_-]{0,62})(\.[a-z0-9_][a-z0-9_-]{0,62})*\.?")
_NUMBER = re.compile(r"\d+|0x[0-9a-f]*")
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f\\]")
_LONGEST_URL = 8192
_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Target:
    """Where a request goes."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def host_header(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        usual = self.port == _DEFAULT_PORTS[self.scheme]
        return host if usual else f"{host}:{self.port}"

    @property
    def origin(self) -> str:
        """The server: whoever answers at another one is somebody else."""
        return f"{self.scheme}://{self.host_header}"


def parse_url(url: str) -> Target:
    """The target of an http or https URL; raises `OutboundInvalid` or `OutboundBlocked`."""
    if len(url) > _LONGEST_URL or _FORBIDDEN.search(url):
        raise OutboundInvalid(
            "The URL holds a space, control character or backslash, or is over 8 kB."
        )
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise OutboundInvalid(f"The URL cannot be read: {error}.") from error
    if parts.scheme not in _DEFAULT_PORTS:
        raise OutboundInvalid(
            f"The URL's scheme is {parts.scheme or 'missing'}; it must be http or https."
        )
    if "@" in parts.netloc:
        raise OutboundInvalid("The URL holds a user name or password. Put credentials in a header.")
    if not parts.hostname:
        raise OutboundInvalid("The URL names no host.")
    if port == 0:
        raise OutboundInvalid("The URL names port 0; ports go from 1 to 65535.")
    host = _host(parts.hostname, bracketed="[" in parts.netloc)
    path = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._")
    if parts.query:
        path += "?" + quote(parts.query, safe="/%:@!$&'()*+,;=~-._?")
    port = _DEFAULT_PORTS[parts.scheme] if port is None else port
    return Target(parts.scheme, host, port, path)


def _host(text: str, *, bracketed: bool) -> str:
    if bracketed:
        try:
            address = IPv6Address(text)
        except ValueError as error:
            raise OutboundInvalid("The URL's IPv6 address cannot be read.") from error
        if address.scope_id is not None:
            raise OutboundBlocked
        return str(address)
    try:
        host = text if text.isascii() else text.encode("idna").decode("ascii")
    except UnicodeError as error:
        raise OutboundInvalid("The URL's host name cannot be read.") from error
    host = host.lower()
    if _HOST.fullmatch(host) is None:
        raise OutboundInvalid("The URL's host name holds characters that no host name has.")
    host = host.rstrip(".")
    if _NUMBER.fullmatch(host.rsplit(".", 1)[-1]) is None:
        return host
    try:
        IPv4Address(host)
    except ValueError as error:
        raise OutboundBlocked from error
    return host
