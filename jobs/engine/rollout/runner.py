"""Runs many rollouts at once and hands them back in the order of their requests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from jobs.engine.rollout.episode import Episode, EpisodeSettings, OnTurn
from jobs.engine.rollout.identity import RolloutRequest
from jobs.engine.rollout.render import ChatRenderer
from jobs.engine.rollout.replay import Executes
from jobs.engine.sampling.base import CountsRollouts, Sampler
from jobs.engine.types import Trajectory

__all__ = ["RolloutRequest", "RolloutRunner"]


class RolloutRunner:
    """One runner serves one job; `run` may be called again and again, not concurrently."""

    def __init__(
        self,
        sampler: Sampler,
        renderer: ChatRenderer,
        executor: Executes,
        settings: EpisodeSettings,
        *,
        at_once: int | None = None,
    ) -> None:
        """`at_once`: the most rollouts in flight. Those that wait for their turn to begin do not
        yet spend their seconds. None: all; lock step needs to know all of them."""
        self._sampler = sampler
        self._renderer = renderer
        self._executor = executor
        self._settings = settings
        self._at_once = at_once

    async def run(
        self,
        requests: Sequence[RolloutRequest],
        on_done: Callable[[Trajectory], None] | None = None,
        on_turn: OnTurn = lambda _: None,
    ) -> list[Trajectory]:
        """Roll out every request; `on_done` hears of each as it ends, `on_turn` after each turn.

        If one rollout raises (a bug or a refused template, never a tool fault), the others are
        cancelled and the error is raised.
        """
        counter = self._sampler if isinstance(self._sampler, CountsRollouts) else None
        if counter is not None:
            counter.enter(len(requests))
        places = asyncio.Semaphore(self._at_once or len(requests))
        tasks = [
            asyncio.create_task(self._one(request, order, on_done, on_turn, places))
            for order, request in enumerate(requests)
        ]
        if counter is not None:
            for task in tasks:
                task.add_done_callback(lambda _task: counter.leave())
        try:
            return list(await asyncio.gather(*tasks))
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _one(
        self,
        request: RolloutRequest,
        order: int,
        on_done: Callable[[Trajectory], None] | None,
        on_turn: OnTurn,
        places: asyncio.Semaphore,
    ) -> Trajectory:
        async with places:
            episode = Episode(
                request,
                self._settings,
                sampler=self._sampler,
                renderer=self._renderer,
                executor=self._executor,
                order=order,
                on_turn=on_turn,
            )
            trajectory = await episode.run()
        if on_done is not None:
            on_done(trajectory)
        return trajectory
