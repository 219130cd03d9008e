"""Hostile addresses: whatever the spelling, a listener on loopback sees nobody."""

from __future__ import annotations

import asyncio
from ipaddress import ip_address

import pytest

from hone.core.net.client import AsyncGuardedClient
from hone.core.net.errors import BLOCKED, OutboundBlocked, OutboundError
from hone.core.net.policy import OutboundPolicy
from hone.core.net.target import parse_url

# ruff: noqa: E501
HOSTS = [
    "127.0.0.1",
    "127.1",
    "127.0.1",
    "0177.0.0.1",
    "0x7f.1",
    "0x7f000001",
    "2130706433",
    "017700000001",
    "0",
    "0.0.0.0",
    "127.0.0.2",
    "127.255.255.254",
    "10.0.0.1",
    "100.64.0.1",
    "100.100.100.200",
    "168.63.129.16",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.8",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.1.2.3",
    "240.0.0.1",
    "255.255.255.255",
    "2852039166",
    "0xa9fea9fe",
    "169.254.43518",
    "[::1]",
    "[::]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::127.0.0.1]",
    "[::169.254.169.254]",
    "[::ffff:0:127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "[64:ff9b::a9fe:a9fe]",
    "[64:ff9b::1]",
    "[64:ff9b:1::7f00:1]",
    "[64:ff9b:1::1]",
    "[2002:7f00:1::]",
    "[2002:a9fe:a9fe::]",
    "[2001::1]",
    "[2001:0:7f00:1::]",
    "[2001:db8::1]",
    "[3fff::1]",
    "[5f00::1]",
    "[fe80::1]",
    "[fc00::1]",
    "[fd00:ec2::254]",
    "[fec0::1]",
    "[ff02::1]",
    "[100::1]",
    "localhost",
    "localhost.",
    "LOCALHOST",
    "１２７.０.０.１",
    "①②⑦.⓪.⓪.①",
    "127。0。0。1",
    "⑯⑨.②⑤④.⑯⑨.②⑤④",
    "127.0.0.1.",
    "[fe80::1%25lo]",
    "[::1%25lo]",
    "1.2.3.4.5",
    "256.256.256.256",
]


async def _attempt(url_of: str) -> tuple[int, Exception]:
    seen = 0

    async def count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal seen
        seen += 1
        writer.close()

    server = await asyncio.start_server(count, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    client = AsyncGuardedClient(OutboundPolicy())
    with pytest.raises(OutboundError) as caught:
        await client.post(url_of.replace("PORT", str(port)), headers={}, content=b"", timeout_s=3)
    await client.aclose()
    server.close()
    return seen, caught.value


@pytest.mark.parametrize("host", HOSTS)
def test_a_special_address_is_refused_in_the_same_words_and_never_reached(host: str) -> None:
    seen, error = asyncio.run(_attempt(f"http://{host}:PORT/"))
    assert seen == 0
    assert isinstance(error, OutboundBlocked)
    assert str(error) == BLOCKED


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "gopher://127.0.0.1:PORT/",
        "//127.0.0.1:PORT/",
        "http://user:pw@127.0.0.1:PORT/",
        "http://example.org@127.0.0.1:PORT/",
        "http://127.0.0.1:PORT\\@example.org/",
        "http://127.0.0.1:PORT/\r\nHost: x",
        "http:///x",
        "http://127.0.0.1:99999/",
        "http://[::1/",
    ],
)
def test_a_url_with_a_trick_in_it_reaches_nobody(url: str) -> None:
    seen, _ = asyncio.run(_attempt(url))
    assert seen == 0


def test_unusual_ports_are_refused_before_anything_is_sent() -> None:
    with pytest.raises(OutboundBlocked):
        OutboundPolicy().check("public.example", 22, [ip_address("93.184.216.34")])
    with pytest.raises(OutboundError):
        parse_url("http://public.example:0/")


def test_a_name_is_resolved_once_and_one_private_answer_blocks_all() -> None:
    asked = 0

    async def resolver(host: str, port: int) -> list[object]:
        nonlocal asked
        asked += 1
        return [ip_address("93.184.216.34"), ip_address("127.0.0.1")]

    client = AsyncGuardedClient(OutboundPolicy(), resolver=resolver)  # type: ignore[arg-type]
    with pytest.raises(OutboundBlocked):
        asyncio.run(client.post("http://mixed.example/", headers={}, content=b"", timeout_s=3))
    assert asked == 1


@pytest.mark.parametrize(
    "entry", ["", "example.org", "10.0.0.0/33", "host:0", "host:70000", "[::1]:x", "a b:80", ":80"]
)
def test_a_bad_entry_of_the_operators_list_is_named(entry: str) -> None:
    with pytest.raises(ValueError):
        OutboundPolicy.parse([entry])


def test_an_allowed_port_opens_that_port_alone() -> None:
    policy = OutboundPolicy.parse(["127.0.0.1:8090", "[fd00::1]:443", "box.lan:22", "10.0.0.0/8"])
    policy.check("127.0.0.1", 8090, [ip_address("127.0.0.1")])
    policy.check("x", 8090, [ip_address("::ffff:127.0.0.1")])
    policy.check("fd00::1", 443, [ip_address("fd00::1")])
    policy.check("box.lan", 22, [ip_address("192.168.7.7")])
    policy.check("y", 80, [ip_address("10.9.9.9")])
    for host, port, text in [
        ("127.0.0.1", 8091, "127.0.0.1"),
        ("other.lan", 22, "192.168.7.7"),
        ("y", 22, "10.9.9.9"),
        ("y", 80, "172.16.0.1"),
    ]:
        with pytest.raises(OutboundBlocked):
            policy.check(host, port, [ip_address(text)])
