"""Whom the graders of a run call: judges and endpoints, from threads, over the run's event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from graders.kinds.endpoint.calling import Endpoints, WaitingEndpoints
from graders.kinds.judging.judges import Judges, WaitingJudges
from graders.kinds.outside import Outside
from hone.core.net.client import AsyncGuardedClient
from jobs.engine.spec import GraderRole, Handshake

T = TypeVar("T")


class Callers:
    """Made in the event loop that the calls are to run in."""

    def __init__(self, handshake: Handshake, client: AsyncGuardedClient) -> None:
        self.judges = Judges(handshake.judges, client)
        self._loop = asyncio.get_running_loop()
        self._client = client
        self._headers = handshake.grader_headers

    def of(self, role: GraderRole) -> Outside:
        """What one grader of the job may call, with the secrets of that grader alone."""
        endpoints = Endpoints(self._client, self._headers.get(role, {}))
        return Outside(
            judges=WaitingJudges(self.judges, self._wait),
            endpoints=WaitingEndpoints(endpoints, self._wait),
        )

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        try:
            waiting = asyncio.run_coroutine_threadsafe(work, self._loop)
        except RuntimeError:
            # The run is over, and nobody waits for this grade any more.
            work.close()
            raise
        return waiting.result()
