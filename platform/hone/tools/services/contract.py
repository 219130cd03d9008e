"""The contract test of a tool: does it answer as a rollout needs it to, under load too?

Each step makes its calls and says one line. A tool that writes is called only where a person asked
for the test, and as seldom as can be.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass, field
from ipaddress import ip_address
from typing import Any, Literal

from django.conf import settings

from hone.core.figures import duration, size
from hone.core.net.attempts import EndpointGuard, Pace
from hone.core.net.backend import resolve
from hone.core.net.client import MIB, AsyncGuardedClient
from hone.core.net.errors import OutboundError
from hone.core.net.function_call import CallOutcome
from hone.core.net.policy import OutboundPolicy
from hone.core.net.target import parse_url
from hone.tools.models import CheckStatus, ToolVersion
from hone.tools.services.calling import call_version, new_call

Mark = Literal["ok", "warning", "problem", "skipped"]

REPEATS = 5
LOAD_S = 10.0
MOST_LOAD_CALLS = 500
LOAD_LIMIT_S = 90.0
LOOKUP_S = 5.0
REFUSALS = frozenset({401, 403})
TOO_MANY = 429
WRONG_KEY = "wrong-key-of-the-contract-test"
WRITES = "The tool writes, so this is not tried."


@dataclass(frozen=True)
class Line:
    """What one step found out."""

    key: str
    mark: Mark
    text: str


@dataclass
class Probe:
    """One test under way: what it calls with, and what it has seen so far."""

    version: ToolVersion
    headers: Mapping[str, str]
    arguments: str
    asked: bool
    seconds: list[float] = field(default_factory=list)
    calls: int = 0
    faults: int = 0
    first: CallOutcome | None = None

    @property
    def writes(self) -> bool:
        return self.version.effects == "writes"

    async def call(
        self,
        *,
        headers: Mapping[str, str] | None = None,
        arguments: str | None = None,
        key: str = "",
        guard: EndpointGuard | None = None,
        client: AsyncGuardedClient | None = None,
    ) -> CallOutcome:
        call = new_call(self.version, self.arguments if arguments is None else arguments, {})
        sent = self.headers if headers is None else headers
        outcome = await call_version(self.version, sent, call, key=key, guard=guard, client=client)
        self.calls += 1
        self.faults += outcome.status == "fault"
        return outcome


Step = Callable[[Probe], Awaitable[Line]]


def steps(*, with_load: bool) -> list[Step]:
    """In the order in which they are shown."""
    usual: list[Step] = [_address, _answer, _times, _size, _key, _arguments, _idempotence]
    return [*usual, _load] if with_load else usual


def run(probe: Probe, *, with_load: bool, note: Callable[[Line], None]) -> None:
    """All steps; `note` hears of each line as it is known."""
    for step in steps(with_load=with_load):
        line = asyncio.run(_line(step, probe))
        note(line)
        if line.mark == "problem" and line.key in {"address", "answer"}:
            note(Line("rest", "skipped", "The other steps need an answer, so they were not run."))
            return


async def _line(step: Step, probe: Probe) -> Line:
    return await step(probe)


def load_calls(version: ToolVersion) -> int:
    """How many calls the load step makes."""
    return max(1, min(MOST_LOAD_CALLS, math.floor(version.rate_limit * LOAD_S)))


def verdict(lines: Sequence[Mapping[str, Any]]) -> tuple[CheckStatus, str]:
    """The worst of the lines, and the first sentence that is not good news."""
    for mark, status in (("problem", CheckStatus.PROBLEM), ("warning", CheckStatus.WARNING)):
        for line in lines:
            if line["mark"] == mark:
                return status, line["text"]
    return CheckStatus.OK, ""


def percentile(seconds: Sequence[float], share: float) -> float | None:
    """By the nearest rank; None of nothing."""
    if not seconds:
        return None
    return sorted(seconds)[max(0, math.ceil(share * len(seconds)) - 1)]


def as_json(line: Line) -> dict[str, Any]:
    return asdict(line)


async def _address(probe: Probe) -> Line:
    """Looked up and judged; nothing is sent."""
    target = parse_url(probe.version.url)
    try:
        try:
            addresses = [ip_address(target.host)]
        except ValueError:
            async with asyncio.timeout(LOOKUP_S):
                addresses = await resolve(target.host, target.port)
        OutboundPolicy.parse(settings.OUTBOUND_ALLOW).check(target.host, target.port, addresses)
    except TimeoutError:
        return Line(
            "address", "problem", f"The host name {target.host} is not answered for in time."
        )
    except OutboundError as error:
        return Line("address", "problem", error.message)
    return Line("address", "ok", "Its address may be called from here.")


async def _answer(probe: Probe) -> Line:
    if probe.writes and not probe.asked:
        return Line("answer", "skipped", "The tool writes, so the schedule does not call it.")
    outcome = probe.first = await probe.call()
    if outcome.status == "fault":
        return Line("answer", "problem", outcome.error)
    if outcome.status == "tool_error":
        text = (
            f"{outcome.error} The example arguments do not please it: give better ones, "
            "so that the test sees a real answer."
        )
        return Line("answer", "warning", text)
    return Line("answer", "ok", f"It answered with text, {size(len(outcome.output or ''))}.")


async def _times(probe: Probe) -> Line:
    if probe.writes:
        if probe.first is not None:
            probe.seconds.append(probe.first.seconds)
        return Line("time", "skipped", WRITES)
    seen = [await probe.call() for _ in range(REPEATS)]
    answered = [outcome for outcome in seen if outcome.status != "fault"]
    probe.seconds += [outcome.seconds for outcome in answered]
    lost = len(seen) - len(answered)
    if lost:
        last = next(each.error for each in reversed(seen) if each.status == "fault")
        return Line("time", "problem", f"{lost} of {REPEATS} calls were faults: {last}")
    middle, high = percentile(probe.seconds, 0.5), percentile(probe.seconds, 0.95)
    limit = probe.version.timeout_s
    text = f"{REPEATS} calls took {duration(middle)} (p50) and {duration(high)} (p95)."
    if high is not None and high > limit / 2:
        return Line("time", "warning", f"{text} The limit of {duration(limit)} is near.")
    return Line("time", "ok", text)


async def _size(probe: Probe) -> Line:
    received = probe.first.bytes_received if probe.first else 0
    if probe.first is None:
        return Line("size", "skipped", WRITES)
    if probe.first.http_status == 413:
        return Line("size", "problem", f"{probe.first.error} The model sees a 413 error instead.")
    if received > MIB // 2:
        return Line("size", "warning", f"The answer has {size(received)}; from 1 MB on it is lost.")
    return Line("size", "ok", f"The answer has {size(received)} of at most {size(MIB)}.")


async def _key(probe: Probe) -> Line:
    """Whether anybody could call it: once with wrong values in all secret headers."""
    if not probe.headers:
        return Line("key", "skipped", "No secret header is registered.")
    if probe.writes:
        return Line("key", "skipped", WRITES)
    outcome = await probe.call(headers=dict.fromkeys(probe.headers, WRONG_KEY))
    if outcome.http_status in REFUSALS:
        return Line("key", "ok", f"A wrong key is refused with HTTP {outcome.http_status}.")
    if outcome.status == "ok":
        return Line("key", "warning", "It answers a wrong key too, so anybody may call it.")
    if outcome.status == "tool_error":
        return Line("key", "ok", f"A wrong key is refused. {outcome.error}")
    return Line(
        "key", "warning", f"A wrong key is answered with what counts as a fault: {outcome.error}"
    )


async def _arguments(probe: Probe) -> Line:
    """What a model gets that forgets what is required: it should be told, not lose its rollout."""
    if probe.writes:
        return Line("arguments", "skipped", WRITES)
    if not probe.version.parameters.get("required"):
        return Line("arguments", "skipped", "No argument is required, so none can be missing.")
    outcome = await probe.call(arguments="{}")
    if outcome.status == "fault":
        text = f"Missing arguments end a rollout without a reward: {outcome.error}"
        return Line("arguments", "warning", f"{text} Answer with a 4xx or a text instead.")
    return Line("arguments", "ok", "Missing arguments are answered, so that the model can learn.")


async def _idempotence(probe: Probe) -> Line:
    if not probe.version.idempotent:
        return Line("repeat", "skipped", "It is not declared as safe to repeat.")
    if probe.first is None:
        return Line("repeat", "skipped", WRITES)
    key = f"contract-test-{new_call(probe.version, '{}', {}).call_id}"
    first, second = await probe.call(key=key), await probe.call(key=key)
    if "fault" in {first.status, second.status}:
        return Line("repeat", "problem", f"A repeated call was a fault: {second.error}")
    if (first.status, first.output) != (second.status, second.output):
        text = "The same call with the same Idempotency-Key got two different answers."
        return Line("repeat", "warning", text)
    return Line("repeat", "ok", "The same call with the same Idempotency-Key got one answer.")


async def _load(probe: Probe) -> Line:
    if probe.writes:
        return Line("load", "skipped", WRITES)
    version, count = probe.version, load_calls(probe.version)
    guard, slots = EndpointGuard(pace=Pace(version.rate_limit)), version.max_concurrency
    places = asyncio.Semaphore(slots)
    policy = OutboundPolicy.parse(settings.OUTBOUND_ALLOW)

    async def one(client: AsyncGuardedClient) -> CallOutcome:
        async with places:
            return await probe.call(guard=guard, client=client)

    loop = asyncio.get_running_loop()
    started = loop.time()
    try:
        async with asyncio.timeout(LOAD_LIMIT_S), aclosing(AsyncGuardedClient(policy)) as client:
            seen = await asyncio.gather(*(one(client) for _ in range(count)))
    except TimeoutError:
        text = f"{count} calls were not done within {duration(LOAD_LIMIT_S)}."
        return Line("load", "problem", text)
    return _load_line(seen, loop.time() - started, version.rate_limit)


def _load_line(seen: Sequence[CallOutcome], took_s: float, rate: float) -> Line:
    high = percentile([each.seconds for each in seen], 0.95)
    reached = len(seen) / took_s if took_s else rate
    text = f"{len(seen)} calls, {reached:.0f} a second: p95 {duration(high)}"
    faults = [each for each in seen if each.status == "fault"]
    refused = sum(each.http_status == TOO_MANY for each in seen)
    if faults:
        text += f", {len(faults)} faults, the last: {faults[-1].error}"
        return Line("load", "problem", text)
    if refused:
        text += f", {refused} refused with HTTP 429. Lower the calls a second."
        return Line("load", "warning", text)
    if reached < 0.8 * rate and len(seen) > 1:
        text += f"; {rate:g} a second are registered, which it does not keep up with."
        return Line("load", "warning", text)
    return Line("load", "ok", f"{text}, no fault.")


def example_text(parameters: Mapping[str, Any]) -> str:
    """Arguments of the schema's types, to start from."""
    properties = parameters.get("properties")
    if not isinstance(properties, dict):
        return "{}"
    return json.dumps({name: _example(each) for name, each in properties.items()}, indent=2)


_EXAMPLES: dict[str, Any] = {"string": "text", "integer": 1, "number": 1.5, "boolean": True}


def _example(schema: Any) -> Any:
    if not isinstance(schema, dict):
        return None
    for key in ("examples", "enum"):
        if isinstance(schema.get(key), list) and schema[key]:
            return schema[key][0]
    kind = schema.get("type")
    if isinstance(kind, str):
        return _EXAMPLES.get(kind, [] if kind == "array" else {} if kind == "object" else None)
    return None
