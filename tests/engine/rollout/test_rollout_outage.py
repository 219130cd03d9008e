"""An endpoint that is down: how much is sent to it, and that it is found again when it is back."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import aclosing

import pytest

from hone.core.net import attempts
from hone.core.net.attempts import EndpointGuard, Pace
from hone.core.net.calls import Try
from hone.core.net.client import AsyncGuardedClient
from hone.core.net.policy import OutboundPolicy
from hone.core.net.retry_budget import RetryBudget
from jobs.engine.rollout.tools import ToolExecutor
from jobs.engine.spec import ToolSpec
from jobs.engine.types import ToolCall
from tests.nasty import GOOD, Conn, Serving, serving


class Flapping:
    """Counts the requests, and answers them or does not."""

    def __init__(self) -> None:
        self.requests = 0
        self.is_up = False
        self.at_once = 0
        self.most_at_once = 0

    def __call__(self, conn: Conn) -> None:
        while conn.read():
            self.requests += 1
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
            conn.stop.wait(0.005)
            self.at_once -= 1
            conn.answer(*((GOOD,) if self.is_up else (b"", "503 Down")))


@pytest.fixture
def flapping() -> Flapping:
    return Flapping()


@pytest.fixture
def place(flapping: Flapping) -> Iterator[Serving]:
    with serving(flapping) as server:
        yield server


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same waits, shorter: how often is asked does not hang on how long a pause is."""
    monkeypatch.setattr(attempts, "FIRST_PAUSE_S", 0.002)
    monkeypatch.setattr(attempts, "LONGEST_PAUSE_S", 0.01)
    monkeypatch.setattr(attempts, "PATIENCE_S", 0.02)


def made(server: Serving, counts: list[int], **fields: float) -> list[list[ToolCall]]:
    """Batches of calls at once, one batch after the other."""

    async def run() -> list[list[ToolCall]]:
        tools = [
            ToolSpec(name=name, url=f"http://{server.place}/", timeout_s=5.0, **fields)  # type: ignore[arg-type]
            for name in ("search", "find")
        ]
        batches = []
        async with (
            aclosing(AsyncGuardedClient(OutboundPolicy.parse([server.place]))) as client,
            aclosing(ToolExecutor(tools, {}, client)) as executor,
        ):
            for count in counts:
                calls = [
                    ToolCall(id=f"call_{n}", name=tools[n % 2].name, arguments="{}")
                    for n in range(count)
                ]
                await executor.execute(
                    calls,
                    trace_id="t",
                    item={},
                    offered=["search", "find"],
                    keys=[f"k{n}" for n in range(count)],
                )
                batches.append(calls)
        return batches

    return asyncio.run(run())


def test_at_an_error_rate_of_100_percent_at_most_a_quarter_more_is_sent(
    place: Serving, flapping: Flapping
) -> None:
    calls = [call for batch in made(place, [32] * 10) for call in batch]
    assert {call.status for call in calls} == {"fault"}
    assert 0 < flapping.requests <= 1.25 * len(calls)
    told = "search: it answers nobody at present, so it was not asked."
    assert told in {call.error for call in calls}


def test_one_call_alone_has_its_three_retries(place: Serving, flapping: Flapping) -> None:
    ((call,),) = made(place, [1])
    assert (call.status, call.attempts, flapping.requests) == ("fault", 4, 4)


def test_an_endpoint_that_is_back_is_asked_again(
    place: Serving, flapping: Flapping, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    guard = EndpointGuard(budget=RetryBudget(clock=lambda: now[0]))

    async def asked(up: bool) -> str:
        refusal = await guard.enter(asyncio.sleep, retry=False)
        if not refusal:
            guard.note(Try("ok") if up else Try("fault", retry=True))
        return refusal

    for _ in range(8):
        assert asyncio.run(asked(False)) == ""
    assert asyncio.run(asked(True)) == "it answers nobody at present, so it was not asked"
    now[0] += 1.1
    assert asyncio.run(asked(True)) == ""
    assert asyncio.run(asked(True)) == ""


def test_calls_at_once_are_counted_for_the_endpoint_and_not_for_each_tool(
    place: Serving, flapping: Flapping
) -> None:
    flapping.is_up = True
    (calls,) = made(place, [40], max_concurrency=4)
    assert {call.status for call in calls} == {"ok"}
    assert flapping.most_at_once <= 4


def test_calls_come_no_faster_than_their_rate() -> None:
    now = [100.0]
    pace = Pace(50.0, clock=lambda: now[0])
    waits = [pace.wait_s() for _ in range(105)]
    assert waits[:5] == [0.0] * 5
    assert waits[-1] == pytest.approx(2.0 - attempts.BURST_S + 0.08, abs=0.03)
    now[0] += 60
    assert [pace.wait_s() for _ in range(6)][:5] == [0.0] * 5
    assert Pace(None).wait_s() == 0.0


def test_the_rate_holds_for_real_requests(place: Serving, flapping: Flapping) -> None:
    flapping.is_up = True
    loop_started = asyncio.new_event_loop()
    started = loop_started.time()
    made(place, [30], rate_limit=100.0)
    took = loop_started.time() - started
    loop_started.close()
    assert flapping.requests == 30
    assert took >= 0.18
