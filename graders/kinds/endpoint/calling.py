"""How endpoint graders are called: the body that is sent, the score that is read, the caller."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from hone.core.net.client import AsyncGuardedClient
from hone.core.net.function_call import MASK
from hone.core.net.line import PAUSES, Address, Limits, Line, NoAnswer, shown
from hone.core.net.retry_budget import RetryBudgets

LONGEST_S = 600.0
AT_ONCE = 64
Headers = Mapping[str, Mapping[str, str]]
"""Secret headers by the grader's place in its spec, which is empty for the outermost."""
Run = Callable[[Coroutine[Any, Any, float]], float]


class EndpointCall(msgspec.Struct, frozen=True, kw_only=True):
    """Where one endpoint grader is called. A masked header stands for a secret kept elsewhere."""

    place: str
    url: str
    headers: Mapping[str, str]
    per_second: float


class EndpointCaller(Protocol):
    """How a grader calls an endpoint; safe to call from several threads."""

    def score(self, call: EndpointCall, content: bytes) -> float:
        """The score; raises NoAnswer."""
        ...


class Endpoints:
    """Calls endpoint graders from an event loop."""

    def __init__(
        self,
        client: AsyncGuardedClient,
        secrets: Headers,
        *,
        pauses: tuple[float, ...] = PAUSES,
        longest_s: float = LONGEST_S,
    ) -> None:
        self._client = client
        self._secrets = secrets
        self._pauses = pauses
        self._longest_s = longest_s
        self._lines: dict[tuple[str, str], Line] = {}
        self._budgets = RetryBudgets()

    async def score(self, call: EndpointCall, content: bytes) -> float:
        """The score; raises NoAnswer."""
        line = self._lines.get((call.place, call.url))
        if line is None:
            line = self._lines[call.place, call.url] = self._line(call)
        return await line.post(content, read_score)

    def _line(self, call: EndpointCall) -> Line:
        headers = {**call.headers, **self._secrets.get(call.place, {})}
        for name, value in headers.items():
            if value == MASK:
                raise NoAnswer("barred", f"the value of the header {name} is not known here")
        limits = Limits(
            timeout_s=self._longest_s,
            max_concurrency=AT_ONCE,
            per_second=call.per_second,
            pauses=self._pauses,
        )
        address = Address(url=call.url, who="the endpoint", headers=headers)
        return Line(self._client, address, limits, self._budgets.of(call.url))


@dataclass(frozen=True)
class WaitingEndpoints:
    """`Endpoints` for threads, which wait while `run` has the endpoint called."""

    endpoints: Endpoints
    run: Run

    def score(self, call: EndpointCall, content: bytes) -> float:
        return self.run(self.endpoints.score(call, content))


class NoEndpoints:
    """Stands where no endpoints may be called."""

    def score(self, call: EndpointCall, content: bytes) -> float:
        raise NoAnswer("barred", "this place calls no endpoints")


def read_score(text: str) -> float:
    """Raises NoAnswer: what is not JSON is not the grader that spoke."""
    try:
        reply = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise NoAnswer("down", f"the endpoint's reply is no JSON: {shown(text[:80])}") from error
    if not isinstance(reply, dict) or "score" not in reply:
        raise NoAnswer("unusable", "the endpoint's reply has no “score”")
    score = reply["score"]
    if type(score) not in {int, float}:
        text = shown(json.dumps(score))[:80]
        raise NoAnswer("unusable", f"the endpoint's score is no number: {text}")
    try:
        number = float(score)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise NoAnswer("unusable", "the endpoint's score is not finite")
    return number
