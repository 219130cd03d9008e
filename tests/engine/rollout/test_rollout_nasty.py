"""Servers that misbehave: each call ends with the right label, in time, within bounded memory."""

from __future__ import annotations

import asyncio
import os
import ssl
import time
from collections.abc import Sequence
from contextlib import ExitStack, aclosing
from pathlib import Path

import pytest

from hone.core.net import client as client_module
from hone.core.net.client import AsyncGuardedClient
from hone.core.net.policy import OutboundPolicy
from jobs.engine.rollout.tools import ToolExecutor
from jobs.engine.spec import ToolSpec
from jobs.engine.types import ToolCall
from tests.nasty import (
    ANSWERS,
    ERRORS,
    FAULTS,
    GOOD,
    Behaviour,
    Conn,
    after_request,
    authority,
    serving,
)

LIMIT_S = 1.0
MOST_GROWTH = 50 * 1024 * 1024


def spec(name: str, place: str, *, scheme: str = "http", careful: bool = True) -> ToolSpec:
    """`careful`: what was sent is not sent again, so one attempt shows the label."""
    return ToolSpec(
        name=name,
        url=f"{scheme}://{place}/",
        timeout_s=LIMIT_S,
        effects="writes" if careful else "reads",
        idempotent=not careful,
    )


async def made(tools: Sequence[ToolSpec], times: int = 1) -> list[ToolCall]:
    places = [tool.url.split("/")[2] for tool in tools]
    calls: list[ToolCall] = []
    async with (
        aclosing(AsyncGuardedClient(OutboundPolicy.parse(places))) as client,
        aclosing(ToolExecutor(tools, {}, client)) as executor,
    ):
        for turn in range(times):
            now = [ToolCall(id=f"call_{turn}", name=tool.name, arguments="{}") for tool in tools]
            names = [tool.name for tool in tools]
            await executor.execute(
                now, trace_id="trace_1", item={}, offered=names, keys=["k"] * len(now)
            )
            calls += now
    return calls


def call(behave: Behaviour, *, careful: bool = True, times: int = 1) -> list[ToolCall]:
    with serving(behave) as server:
        return asyncio.run(made([spec("nasty", server.place, careful=careful)], times))


def resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def test_there_are_enough_of_them() -> None:
    assert len(FAULTS) + len(ERRORS) + len(ANSWERS) >= 30


@pytest.mark.parametrize("name", FAULTS)
def test_it_is_a_fault_that_ends_in_time(name: str) -> None:
    before, started = resident(), time.monotonic()
    (found,) = call(FAULTS[name])
    assert (found.status, found.output) == ("fault", None), found
    assert found.error
    assert time.monotonic() - started < 4 * (LIMIT_S + 1) + 5
    assert found.seconds < found.attempts * (LIMIT_S + 1) + 5
    assert resident() - before < MOST_GROWTH


@pytest.mark.parametrize("name", ERRORS)
def test_it_is_an_error_that_the_model_sees(name: str) -> None:
    before = resident()
    (found,) = call(ERRORS[name])
    assert found.status == "tool_error", found
    assert found.output
    assert len(found.output) < 1000
    assert found.attempts == 1
    assert resident() - before < MOST_GROWTH


@pytest.mark.parametrize("name", ANSWERS)
def test_it_is_an_answer_in_the_end(name: str) -> None:
    found = call(ANSWERS[name], careful=False, times=3)
    assert [(each.status, each.output) for each in found] == [("ok", "found")] * 3


@pytest.mark.parametrize("status", [300, 301, 302, 303, 307, 308])
def test_no_redirect_is_followed_wherever_it_leads(status: int) -> None:
    with serving(Conn.hang) as inside:
        head = f"Location: http://{inside.place}/\r\n"
        (found,) = call(after_request(lambda conn: conn.answer(b"", f"{status} Go", head)))
        assert found.status == "fault"
        assert "redirects are not followed" in found.error
        assert inside.seen == []


def good(conn: Conn) -> None:
    while conn.read():
        conn.answer(GOOD)


def test_a_certificate_is_checked_for_who_when_and_by_whom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trusted = authority(tmp_path)
    (tmp_path / "other").mkdir()
    other = authority(tmp_path / "other", "Somebody")
    context = ssl.create_default_context(cafile=str(trusted.file))
    monkeypatch.setattr(client_module, "_tls", lambda: context)
    wanted = {
        "right": (trusted.server(), "ok"),
        "expired": (trusted.server(days=-1), "fault"),
        "wrong_host": (trusted.server(host="elsewhere.example.org"), "fault"),
        "self_signed": (other.server(), "fault"),
    }
    with ExitStack() as stack:
        servers = {
            name: stack.enter_context(serving(good, tls)) for name, (tls, _) in wanted.items()
        }
        silent = stack.enter_context(serving(Conn.hang))
        tools = [spec(name, each.place, scheme="https") for name, each in servers.items()]
        tools.append(spec("slow_tls", silent.place, scheme="https"))
        found = asyncio.run(made(tools))
    assert {each.name: each.status for each in found} == {
        **{name: status for name, (_, status) in wanted.items()},
        "slow_tls": "fault",
    }


def test_calls_of_others_do_not_wait_for_those_that_hang() -> None:
    """Counted, not timed: all good calls are done while every bad one is still asked."""

    async def together() -> tuple[list[ToolCall], int]:
        bad = [spec(f"bad{n}", each.place) for n, each in enumerate(hanging)]
        tools = [ToolSpec(name="good", url=f"http://{fine.place}/"), *bad]
        places = [tool.url.split("/")[2] for tool in tools]
        async with (
            aclosing(AsyncGuardedClient(OutboundPolicy.parse(places))) as client,
            aclosing(ToolExecutor(tools, {}, client)) as executor,
        ):

            async def run(name: str, count: int) -> list[ToolCall]:
                calls = [
                    ToolCall(id=f"call_{name}{n}", name=name, arguments="{}") for n in range(count)
                ]
                await executor.execute(
                    calls, trace_id="t", item={}, offered=[name], keys=["k"] * count
                )
                return calls

            waiting = [asyncio.create_task(run(tool.name, 8)) for tool in bad]
            while sum(len(each.seen) for each in hanging) < len(hanging):
                await asyncio.sleep(0.01)
            done = await run("good", 64)
            still = sum(not task.done() for task in waiting)
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
            return done, still

    with ExitStack() as stack:
        fine = stack.enter_context(serving(good))
        hanging = [
            stack.enter_context(serving(FAULTS[name]))
            for name in ("silence", "a 100 and nothing more", "a length that is too long")
        ]
        done, still = asyncio.run(together())
    assert [each.status for each in done] == ["ok"] * 64
    assert still == len(hanging)
