"""The guard against reaching inside: every hostile address in every field that takes a URL.

A listener on all addresses of this host counts connections: there must be none. To add a field, add
a row to `FIELDS`: a function that goes to the URL as the field would and returns what was said.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpcore2
import pytest
from django.conf import settings

from graders.kinds.endpoint.calling import EndpointCall
from graders.kinds.judging.chat import Question
from graders.kinds.judging.judges import JudgeEndpoint
from graders.services.outside import outside_with
from hone.core.net.backend import ip_address
from hone.core.net.client import AsyncGuardedClient, post_sync
from hone.core.net.errors import BLOCKED, OutboundError
from hone.core.net.line import NoAnswer
from hone.core.net.policy import OutboundPolicy
from hone.tools.models import Tool, ToolVersion
from hone.tools.services import contract
from hone.tools.services.calling import call_version, new_call
from hone.tools.services.mcp import _list
from jobs.engine.rollout.tools import ToolExecutor
from jobs.engine.spec import ToolSpec
from jobs.engine.types import ToolCall
from jobs.services.probe import _answers
from tests.nasty import Conn, after_request, serving

CORPUS = Path(__file__).with_name("hostile_addresses.txt")
PUBLIC = "93.184.216.34"
PUBLIC_V6 = "2606:2800:220:1::1"


@dataclass(frozen=True)
class Hostile:
    url: str
    answers: tuple[tuple[str, ...], ...] = ()


def corpus() -> list[Hostile]:
    found = []
    for line in CORPUS.read_text().splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        url, bar, told = line.partition(" | ") if " | " in line else line.partition(" |")
        answers = tuple(tuple(part.split(",")) for part in told.split(";")) if told else ()
        found.append(Hostile(url, answers))
    return found


def policy() -> OutboundPolicy:
    return OutboundPolicy.parse(settings.OUTBOUND_ALLOW)


def _version(url: str, kind: str) -> ToolVersion:
    return ToolVersion(
        tool=Tool(name="t"), number=1, url=url, kind=kind, remote_name="t", timeout_s=2.0
    )


def _called(url: str, kind: str) -> str:
    version = _version(url, kind)
    outcome = asyncio.run(call_version(version, {}, new_call(version, "{}", {})))
    assert outcome.status == "fault"
    return outcome.error


def _rolled_out(url: str, kind: Any) -> str:
    spec = ToolSpec(
        name="t", url=url, kind=kind, remote_name="t", timeout_s=2.0, effects="writes",
        idempotent=False,
    )  # fmt: skip

    async def run() -> ToolCall:
        call = ToolCall(id="call_1", name="t", arguments="{}")
        async with (
            aclosing(AsyncGuardedClient(policy())) as client,
            aclosing(ToolExecutor([spec], {}, client)) as executor,
        ):
            await executor.execute([call], trace_id="t", item={}, offered=["t"], keys=["k"])
        return call

    call = asyncio.run(run())
    assert call.status == "fault"
    return call.error


def _listed(url: str) -> str:
    try:
        asyncio.run(_list(url, {}))
    except OutboundError as error:
        return error.message
    raise AssertionError(f"{url} gave a list")


def _tested(url: str) -> str:
    probe = contract.Probe(version=_version(url, "http"), headers={}, arguments="{}", asked=True)
    lines: list[contract.Line] = []
    try:
        contract.run(probe, with_load=True, note=lines.append)
    except OutboundError as error:
        return error.message
    problem = next(line for line in lines if line.mark == "problem")
    return problem.text


def _probed(url: str) -> str:
    assert _answers({"url": url, "effects": "reads"}) is False
    return BLOCKED


def _judged(url: str) -> str:
    outside = outside_with({"m": JudgeEndpoint(url=url, model="m", timeout_s=2.0)})
    question = Question(messages=[], name="q", schema={})
    try:
        outside.judges.ask("m", question)
    except NoAnswer as error:
        return error.reason
    return "answered"


def _scored(url: str) -> str:
    call = EndpointCall(url=url, place="", headers={}, per_second=0.0)
    try:
        outside_with({}).endpoints.score(call, b"{}")
    except NoAnswer as error:
        return error.reason
    return "answered"


def _posted(url: str) -> str:
    try:
        post_sync(policy(), url, headers={}, content=b"{}", timeout_s=2.0)
    except OutboundError as error:
        return error.message
    return "answered"


FIELDS: dict[str, Callable[[str], str]] = {
    "URL of a tool, called from its page": lambda url: _called(url, "http"),
    "URL of a tool, tested": _tested,
    "URL of a tool, in a rollout": lambda url: _rolled_out(url, "http"),
    "URL of a tool, probed for a paused job": _probed,
    "URL of an MCP server, asked for its list": _listed,
    "URL of an MCP server, called from a tool's page": lambda url: _called(url, "mcp"),
    "URL of an MCP server, in a rollout": lambda url: _rolled_out(url, "mcp"),
    "base URL of a judge, asked": _judged,
    "URL of an endpoint grader, called": _scored,
    "whatever else goes out without a loop of its own": _posted,
}


@dataclass
class Listener:
    port: int
    closed_port: int
    seen: list[Any] = field(default_factory=list)


@pytest.fixture
def listener() -> Iterator[Listener]:
    """On every address of this host, IPv4 and IPv6."""
    server = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    server.settimeout(0.05)
    with socket.create_server(("127.0.0.1", 0)) as spare:
        closed = spare.getsockname()[1]
    made = Listener(server.getsockname()[1], closed)
    ended = threading.Event()

    def accept() -> None:
        while not ended.is_set():
            with contextlib.suppress(OSError):
                sock, peer = server.accept()
                made.seen.append(peer)
                sock.close()

    thread = threading.Thread(target=accept)
    thread.start()
    yield made
    ended.set()
    thread.join()
    server.close()


@dataclass
class Names:
    """A name server that gives its answers in turn, again and again; and a way out that leads to
    this host alone: what would leave it is noted and refused."""

    known: dict[str, list[tuple[str, ...]]] = field(default_factory=dict)
    left: set[str] = field(default_factory=set)


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    made = Names()

    def look_up(host: str, port: int, *args: Any, **options: Any) -> list[Any]:
        with contextlib.suppress(ValueError):
            return [(0, 0, 0, "", (str(ip_address(host)), port))]
        if host == "localhost":
            return [(0, 0, 0, "", ("127.0.0.1", port)), (0, 0, 0, "", ("::1", port))]
        answers = made.known.get(host.rstrip("."), [])
        if not answers:
            raise socket.gaierror("Name or service not known")
        answers.append(answers.pop(0))
        return [(0, 0, 0, "", (address, port)) for address in answers[-1] if address]

    real = httpcore2.AnyIOBackend.connect_tcp

    async def connect(self: Any, host: str, *args: Any, **options: Any) -> Any:
        if not ip_address(host).is_loopback and not _is_this_host(host):
            made.left.add(host)
            raise httpcore2.ConnectError("no way out")
        return await real(self, host, *args, **options)

    monkeypatch.setattr("hone.core.net.backend.socket.getaddrinfo", look_up)
    monkeypatch.setattr(httpcore2.AnyIOBackend, "connect_tcp", connect)
    return made


def _is_this_host(host: str) -> bool:
    """What a kernel takes for itself, in whatever spelling: these may connect, to be counted."""
    return host in {"0.0.0.0", "::", "::ffff:127.0.0.1", "::ffff:7f00:1"}


def host_of(url: str) -> str:
    host = url.split("//", 1)[-1].split("/")[0].rsplit(":", 1)[0].rstrip(".").lower()
    return host if host.isascii() else host.encode("idna").decode()


def test_there_are_at_least_200_of_them_and_none_twice() -> None:
    urls = [each.url for each in corpus()]
    assert len(urls) >= 200
    assert len(set(urls)) == len(urls)


def test_the_listener_counts(listener: Listener) -> None:
    for host in ("127.0.0.1", "::1"):
        socket.create_connection((host, listener.port), timeout=5).close()
    for _ in range(100):
        if len(listener.seen) == 2:
            break
        threading.Event().wait(0.02)
    assert len(listener.seen) == 2


@pytest.mark.parametrize("name", FIELDS)
def test_no_hostile_address_is_reached_from(name: str, listener: Listener, names: Names) -> None:
    hostile = corpus()
    for each in hostile:
        if each.answers:
            names.known[host_of(each.url)] = list(each.answers)
    answered = []
    for each in hostile:
        # Twice where answers alternate, so that each of them is the first once.
        for _ in range(max(1, len(each.answers))):
            said = FIELDS[name](each.url.replace("PORT", str(listener.port)))
            if not said or said == "answered":
                answered.append(each.url)
    assert answered == []
    assert listener.seen == []
    assert names.left <= {PUBLIC, PUBLIC_V6}


@pytest.mark.parametrize("name", FIELDS)
def test_what_is_said_tells_nothing_of_what_is_there(name: str, listener: Listener) -> None:
    """An open port and a closed one, a host and none: the same words."""
    said = {
        FIELDS[name](f"http://{host}:{port}/")
        for host in ("127.0.0.1", "10.255.255.1", "169.254.169.254", "[::1]")
        for port in (listener.port, listener.closed_port)
    }
    assert said == {BLOCKED}
    assert listener.seen == []


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("status", [300, 301, 302, 303, 307, 308])
def test_no_redirect_leads_inside_from(
    name: str, status: int, listener: Listener, settings: Any
) -> None:
    head = f"Location: http://127.0.0.1:{listener.port}/\r\n"

    def redirect(conn: Conn) -> None:
        conn.answer(b"", f"{status} Go", head)

    with serving(after_request(redirect)) as server:
        settings.OUTBOUND_ALLOW = (server.place,)
        with contextlib.suppress(AssertionError):
            FIELDS[name](f"http://{server.place}/")
        assert server.seen
    assert listener.seen == []


def test_a_name_is_asked_for_once_a_connection(names: Names, listener: Listener) -> None:
    names.known["rebinds.example"] = [(PUBLIC,), ("127.0.0.1",)]
    said = [_posted(f"http://rebinds.example:{listener.port}/") for _ in range(4)]
    assert said == ["No connection could be made.", BLOCKED] * 2
    assert listener.seen == []
