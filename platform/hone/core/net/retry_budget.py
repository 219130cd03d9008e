"""How much an endpoint that fails may be asked: a budget of retries, and a circuit breaker.

One `RetryBudget` stands for one endpoint and is shared by all that call it in a process. A call
asks `admit` before each attempt and tells afterwards how it went. Whoever is refused sends nothing.
At an error rate of 100 % the attempts stay below 1.25 times the calls from a few dozen calls on:
retries are a fifth of the calls and a small reserve, and once the breaker is open only probes go
out. Nothing here waits, sleeps or knows HTTP.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

RETRY_SHARE = 0.2
"""Retries that each call pays for."""
RESERVE = 3.0
"""Retries at the start, so that the first call has those that the contract names."""
MOST_TOKENS = 10.0
"""What a long healthy time may save up for an outage."""
TRIP_AFTER = 8
"""Failures in a row, whoever's, that open the breaker."""
FIRST_OPEN_S = 1.0
LONGEST_OPEN_S = 30.0

Clock = Callable[[], float]


@dataclass(frozen=True)
class Refused:
    """Not now. `open`: the endpoint is taken to be down; `spent`: no retry is left.

    `wait_s`: after so long it is worth asking again; a retry that is `spent` is best given up.
    """

    reason: Literal["open", "spent"]
    wait_s: float


class RetryBudget:
    """The budget of one endpoint; safe to use from several threads."""

    def __init__(self, *, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._tokens = RESERVE
        self._failures = 0
        self._open_s = FIRST_OPEN_S
        self._probe_at: float | None = None

    def admit(self, *, retry: bool = False) -> Refused | None:
        """None where one attempt may be sent now.

        While the breaker is open, one attempt in each period is let through as a probe, a retry or
        not. A probe that never reports back only costs its period.
        """
        with self._lock:
            if self._probe_at is not None:
                return self._probe(self._probe_at)
            if not retry:
                self._tokens = min(MOST_TOKENS, self._tokens + RETRY_SHARE)
                return None
            if self._tokens < 1.0:
                return Refused("spent", 0.0)
            self._tokens -= 1.0
            return None

    def succeeded(self) -> None:
        """The endpoint answered, be it with a refusal of its own: it is up."""
        with self._lock:
            self._failures = 0
            self._open_s = FIRST_OPEN_S
            self._probe_at = None

    def failed(self) -> None:
        """The endpoint did not answer, or only with a failure of the server."""
        with self._lock:
            self._failures += 1
            if self._probe_at is None and self._failures >= TRIP_AFTER:
                self._probe_at = self._clock() + self._open_s

    @property
    def is_open(self) -> bool:
        """Whether the endpoint is taken to be down."""
        with self._lock:
            return self._probe_at is not None

    def _probe(self, probe_at: float) -> Refused | None:
        now = self._clock()
        if now < probe_at:
            return Refused("open", probe_at - now)
        self._open_s = min(LONGEST_OPEN_S, self._open_s * 2)
        self._probe_at = now + self._open_s
        return None


class RetryBudgets:
    """The budgets of one process, by a key that names the endpoint, such as its URL."""

    def __init__(self, *, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._budgets: dict[str, RetryBudget] = {}

    def of(self, endpoint: str) -> RetryBudget:
        """The endpoint's one budget."""
        with self._lock:
            budget = self._budgets.get(endpoint)
            if budget is None:
                budget = self._budgets[endpoint] = RetryBudget(clock=self._clock)
            return budget
