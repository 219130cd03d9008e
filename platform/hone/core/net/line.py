"""One endpoint as a run calls it, again and again: its places, its pace and its retries.

What an answer means is for the caller to read. Here is decided whether it is worth asking again,
and never more is asked than the endpoint's budget of retries allows.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from hone.core.net.client import MIB, AsyncGuardedClient, NetResponse
from hone.core.net.errors import (
    OutboundBlocked,
    OutboundError,
    OutboundInvalid,
    OutboundTooLarge,
)
from hone.core.net.function_call import retry_after, without_secrets
from hone.core.net.retry_budget import Refused, RetryBudget

Loss = Literal["down", "barred", "refused", "unusable"]
"""`down`: no answer, or the server's own failure, which may pass; `barred`: a key, a payment or an
address that somebody has to mend; `refused`: the request itself, the same every time; `unusable`:
an answer that does not say what it should."""

T = TypeVar("T")

PASSING = frozenset({408, 429})
"""Refusals that a later try may not meet, as well as all from 500 on."""
FOR_GOOD = frozenset({400, 413, 415, 422})
"""Refusals of the request itself."""
LONGEST_SHOWN = 500
PAUSES = (1.0, 4.0, 16.0)


class NoAnswer(Exception):
    """`wait_s`: when the server asks to be tried again."""

    def __init__(self, loss: Loss, reason: str, *, wait_s: float | None = None) -> None:
        super().__init__(reason)
        self.loss = loss
        self.reason = reason
        self.wait_s = wait_s

    @property
    def is_outage(self) -> bool:
        """Whether waiting for somebody may help: the world's fault, and not the request's."""
        return self.loss in {"down", "barred"}


@dataclass(frozen=True, kw_only=True)
class Limits:
    """`pauses`: the waits, in seconds, before each new try; `per_second` 0: no pace."""

    timeout_s: float = 60.0
    max_bytes: int = MIB
    max_concurrency: int = 8
    per_second: float = 0.0
    pauses: tuple[float, ...] = PAUSES


@dataclass(frozen=True, kw_only=True)
class Address:
    """Where to post, with secret headers, and what people call it, as `the judge`."""

    url: str
    who: str
    headers: Mapping[str, str] = field(default_factory=dict)


class Line:
    """One endpoint; all that call it in a process share one of these."""

    def __init__(
        self,
        client: AsyncGuardedClient,
        address: Address,
        limits: Limits,
        budget: RetryBudget | None = None,
    ) -> None:
        self._client = client
        self._address = address
        self._limits = limits
        self._budget = budget or RetryBudget()
        self._places = asyncio.Semaphore(limits.max_concurrency)
        self._next_at = 0.0
        self._last_loss = ""

    async def post(self, content: bytes, read: Callable[[str], T]) -> T:
        """What `read` makes of the answer's text, in which secrets are masked; raises NoAnswer, as
        `read` may. Where `read` finds the server `down`, it is asked again as well."""
        sent, lost = False, self._kept_back()
        for pause in (*self._limits.pauses, None):
            # Spread, so that those who failed together do not come back together.
            wait_s = random.uniform(pause / 2, pause) if pause is not None else 0.0
            try:
                answer = await self._once(content, read, retry=sent)
                if not isinstance(answer, Refused):
                    return answer
                if answer.reason == "spent":
                    break
            except NoAnswer as loss:
                if loss.loss != "down":
                    raise
                sent, lost = True, loss
                wait_s = wait_s if loss.wait_s is None else loss.wait_s
            if pause is not None:
                await asyncio.sleep(wait_s)
        raise lost

    async def _once(self, content: bytes, read: Callable[[str], T], *, retry: bool) -> T | Refused:
        async with self._places:
            refused = self._budget.admit(retry=retry)
            return await self._attempt(content, read) if refused is None else refused

    def _kept_back(self) -> NoAnswer:
        return NoAnswer(
            "down",
            f"{self._address.who} failed many times in a row and is asked only now and then until "
            f"it answers; the last time: {self._last_loss or 'no answer'}",
        )

    async def _attempt(self, content: bytes, read: Callable[[str], T]) -> T:
        await self._pace()
        try:
            answer = read(await self._answer(content))
        except NoAnswer as loss:
            if loss.loss == "down":
                self._last_loss = loss.reason
                self._budget.failed()
            else:
                self._budget.succeeded()
            raise
        self._budget.succeeded()
        return answer

    async def _pace(self) -> None:
        """Evenly spaced, so that no second sees more than its share."""
        if self._limits.per_second > 0:
            now = time.monotonic()
            at = max(now, self._next_at)
            self._next_at = at + 1 / self._limits.per_second
            await asyncio.sleep(at - now)

    async def _answer(self, content: bytes) -> str:
        """A successful answer's text."""
        try:
            response = await self._client.post(
                self._address.url,
                headers={"Content-Type": "application/json", **self._address.headers},
                content=content,
                timeout_s=self._limits.timeout_s,
                max_bytes=self._limits.max_bytes,
            )
        except (OutboundBlocked, OutboundInvalid) as error:
            raise NoAnswer("refused", error.message) from error
        except OutboundTooLarge as error:
            raise NoAnswer("down" if passes(error.status) else "unusable", error.message) from error
        except OutboundError as error:
            raise NoAnswer("down", error.message) from error
        text = self._masked(response)
        if 200 <= response.status < 300:
            return text
        raise NoAnswer(
            _loss(response.status),
            f"{self._address.who} answered HTTP {response.status}: {shown(text)}",
            wait_s=retry_after(response.headers.get("retry-after", "")),
        )

    def _masked(self, response: NetResponse) -> str:
        """Masked as a whole: once it is cut, half a secret would not be recognised."""
        return without_secrets(response.body.decode("utf-8", "replace"), self._address.headers)


def passes(status: int) -> bool:
    """Whether a later try may fare better than one that got this status."""
    return status in PASSING or status >= 500


def _loss(status: int) -> Loss:
    if passes(status):
        return "down"
    return "refused" if status in FOR_GOOD else "barred"


def shown(text: str) -> str:
    """What databases and JSON writers take: no lone surrogate, no NUL, and not too much."""
    text = text.encode("utf-8", "replace").decode().replace("\x00", "\ufffd")
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}…"
