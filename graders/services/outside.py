"""Whom graders may call from a page: an organisation's judges, and endpoints, without retries."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import aclosing, contextmanager
from typing import Any, TypeVar

from django.conf import settings

from graders.kinds.base import GraderSpecError
from graders.kinds.endpoint.calling import Endpoints, WaitingEndpoints
from graders.kinds.judging.judges import JudgeEndpoint, Judges, WaitingJudges
from graders.kinds.outside import Outside
from graders.kinds.parts import model_of, models_in, parts_of
from graders.selectors import judge_endpoint, judge_models
from hone.accounts.models import Organisation
from hone.core.net.client import AsyncGuardedClient
from hone.core.net.line import PAUSES, NoAnswer
from hone.core.net.policy import OutboundPolicy

T = TypeVar("T")

TRIAL_S = 30.0
"""A trial holds a thread of the web process, so all of its calls together end in this time."""


def outside_of(organisation: Organisation, spec: Mapping[str, Any]) -> Outside:
    """What a grader of `spec` may call. The spec holds the values of its headers."""
    return outside_with(_judges_of(organisation, spec))


def _judges_of(organisation: Organisation, spec: Mapping[str, Any]) -> dict[str, JudgeEndpoint]:
    offered = judge_models(organisation)
    return {model: judge_endpoint(*offered[model]) for model in models_in(spec) if model in offered}


@contextmanager
def outside_kept(
    organisation: Organisation, spec: Mapping[str, Any], *, within_s: float | None = None
) -> Iterator[Outside]:
    """As `outside_of`, for many samples and from any threads: each call has its own time, and all
    keep to a judge's pace together. The calls run in an event loop in a thread of its own.

    `within_s`: all of them end by then, and none is tried again; somebody waits for a page.
    """
    client = AsyncGuardedClient(OutboundPolicy.parse(settings.OUTBOUND_ALLOW))
    pauses = PAUSES if within_s is None else ()
    judges = Judges(_judges_of(organisation, spec), client, pauses=pauses, longest_s=TRIAL_S)
    calling = Endpoints(client, {}, pauses=pauses, longest_s=TRIAL_S)
    deadline = None if within_s is None else time.monotonic() + within_s
    with _loop_thread() as loop:

        async def in_time(work: Coroutine[Any, Any, T]) -> T:
            left = None if deadline is None else deadline - time.monotonic()
            async with asyncio.timeout(left):
                return await work

        def wait(work: Coroutine[Any, Any, T]) -> T:
            try:
                return asyncio.run_coroutine_threadsafe(in_time(work), loop).result()
            except TimeoutError as error:
                raise NoAnswer("down", f"the {within_s:g} s for all samples are over") from error

        try:
            yield Outside(
                judges=WaitingJudges(judges, wait), endpoints=WaitingEndpoints(calling, wait)
            )
        finally:
            wait(client.aclose())


@contextmanager
def _loop_thread() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="graders-outside", daemon=True)
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def outside_with(endpoints: Mapping[str, JudgeEndpoint]) -> Outside:
    """As `outside_of`, with these judges."""
    client = AsyncGuardedClient(OutboundPolicy.parse(settings.OUTBOUND_ALLOW))
    deadline = time.monotonic() + TRIAL_S

    def wait(work: Coroutine[Any, Any, T]) -> T:
        async def once() -> T:
            async with aclosing(client), asyncio.timeout(deadline - time.monotonic()):
                return await work

        try:
            return asyncio.run(once())
        except TimeoutError as error:
            raise NoAnswer("down", f"the {TRIAL_S:g} s of a trial are over") from error

    judges = Judges(endpoints, client, pauses=(), longest_s=TRIAL_S)
    calling = Endpoints(client, {}, pauses=(), longest_s=TRIAL_S)
    return Outside(judges=WaitingJudges(judges, wait), endpoints=WaitingEndpoints(calling, wait))


def judges_check(organisation: Organisation, spec: Mapping[str, Any]) -> None:
    """Raises GraderSpecError where a grader names a model that no judge offers."""
    offered = judge_models(organisation)
    for place, model in _named(spec):
        if model not in offered:
            raise GraderSpecError(place, _no_judge(model, offered))


def _named(spec: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for place, part in parts_of(spec):
        if (model := model_of(part)) is not None:
            yield f"{place}.model" if place else "model", model


def _no_judge(model: str, offered: Mapping[str, Any]) -> str:
    whole = [name for name in sorted(offered) if name.endswith(f"/{model}")]
    if len(whole) > 1:
        return f"{model[:80]!r} is offered by several judges. Write one of {', '.join(whole)}."
    if not offered:
        return (
            f"{model[:80]!r} is offered by no judge, and none is registered. Register one under "
            "Graders › Judges."
        )
    named = sorted(name for name, (judge, _) in offered.items() if name.startswith(f"{judge}/"))
    known = ", ".join(named[:20]) + (" and more" if len(named) > 20 else "")
    return f"{model[:80]!r} is offered by no judge. Write one of {known}."
