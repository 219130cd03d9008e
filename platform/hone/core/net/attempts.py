"""Tries a call until it is answered, within what its endpoint may be asked.

`EndpointGuard` stands for one endpoint and is shared by all that call it in a process: how many
calls a second, how many retries, and whether the endpoint is taken to be down. A call waits a
little for an endpoint that is down, and asks nothing of it meanwhile; then it is a fault.
"""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from hone.core.net.calls import CallLimits, CallOutcome, Try, without_secrets
from hone.core.net.retry_budget import RetryBudget

Sleep = Callable[[float], Awaitable[Any]]
Clock = Callable[[], float]

LONGEST_REPLY = 4096
FIRST_PAUSE_S = 0.25
LONGEST_PAUSE_S = 8.0
PATIENCE_S = 4.0
"""How long one call waits in all for an endpoint that is taken to be down."""
BURST_S = 0.1
"""How far calls may run ahead of their rate: of 50 a second, five may come at once."""
_JITTER = random.SystemRandom()


class Pace:
    """At most so many calls a second, evenly. `rate` None: as many as come."""

    def __init__(self, rate: float | None, *, clock: Clock = time.monotonic) -> None:
        self._gap_s = 0.0 if rate is None else 1.0 / rate
        self._clock = clock
        self._next = 0.0

    def wait_s(self) -> float:
        """Take the next place, and say how far off it is."""
        if not self._gap_s:
            return 0.0
        now = self._clock()
        self._next = max(self._next, now - BURST_S) + self._gap_s
        return max(0.0, self._next - self._gap_s - now)


class EndpointGuard:
    """What one endpoint may be asked; without a rate and a budget, everything."""

    def __init__(self, *, pace: Pace | None = None, budget: RetryBudget | None = None) -> None:
        self._pace = pace or Pace(None)
        self._budget = budget

    async def enter(self, sleep: Sleep, *, retry: bool) -> str:
        """Wait until one attempt may be sent; returns why none may be, or nothing."""
        waited = 0.0
        while self._budget is not None and (refused := self._budget.admit(retry=retry)):
            if refused.reason == "spent":
                return "no retry is left for this endpoint, which fails too often"
            if waited + refused.wait_s > PATIENCE_S:
                return "it answers nobody at present, so it was not asked"
            waited += refused.wait_s
            await sleep(refused.wait_s)
        if pause := self._pace.wait_s():
            await sleep(pause)
        return ""

    def note(self, outcome: Try) -> None:
        """An endpoint that answers is up, whatever it says; what was never sent tells nothing."""
        if self._budget is None:
            return
        if outcome.retry and outcome.status == "fault":
            self._budget.failed()
        elif outcome.sent:
            self._budget.succeeded()


async def tried(
    attempt: Callable[[], Awaitable[Try]],
    *,
    name: str,
    size: int,
    headers: Mapping[str, str],
    limits: CallLimits,
    guard: EndpointGuard,
    sleep: Sleep,
) -> CallOutcome:
    """Attempt until there is an answer or the attempts are used up. `size`: bytes of a request;
    `headers`: the secrets that no outcome shows."""
    started = time.perf_counter()
    attempts, sent_bytes, received = 0, 0, 0
    outcome: Try | None = None
    while outcome is None or (attempts < limits.max_attempts and _again(outcome, limits)):
        if outcome is not None:
            await sleep(_pause(attempts, outcome.wait_s))
        refusal = await guard.enter(sleep, retry=attempts > 0)
        if refusal:
            outcome = outcome or Try("fault", error=f"{name}: {refusal}.", sent=False)
            break
        outcome = await attempt()
        guard.note(outcome)
        attempts += 1
        received += outcome.received
        sent_bytes += size if outcome.sent else 0
    return finished(
        outcome, headers, attempts=attempts, started=started, sent=sent_bytes, received=received
    )


def finished(
    outcome: Try,
    headers: Mapping[str, str],
    *,
    attempts: int,
    started: float,
    sent: int = 0,
    received: int = 0,
) -> CallOutcome:
    """The last attempt as the outcome of the call, without secrets."""
    return CallOutcome(
        status=outcome.status,
        output=None if outcome.output is None else without_secrets(outcome.output, headers),
        http_status=outcome.http_status,
        attempts=attempts,
        seconds=time.perf_counter() - started,
        bytes_sent=sent,
        bytes_received=received,
        error=without_secrets(outcome.error, headers),
        # Masked before it is cut: half a secret would not be recognised.
        reply=without_secrets(outcome.reply.decode("utf-8", "replace"), headers)[:LONGEST_REPLY],
    )


def _again(outcome: Try, limits: CallLimits) -> bool:
    repeatable = limits.idempotent or limits.effects != "writes" or not outcome.sent
    return outcome.retry and repeatable


def _pause(attempts: int, wait_s: float | None) -> float:
    if wait_s is not None:
        return wait_s
    longest = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** (attempts - 1))
    return _JITTER.uniform(longest / 2, longest)
