"""Runs many rollouts at once and hands them back in the order of their requests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from jobs.engine.rollout.episode import Episode, EpisodeSettings
from jobs.engine.rollout.identity import RolloutRequest
from jobs.engine.rollout.render import ChatRenderer
from jobs.engine.rollout.tools import ToolExecutor
from jobs.engine.sampling.base import CountsRollouts, Sampler
from jobs.engine.spec import Budgets
from jobs.engine.types import Trajectory

__all__ = ["RolloutRequest", "RolloutRunner"]


class RolloutRunner:
    """One runner serves one job; `run` may be called again and again, not concurrently."""

    def __init__(
        self,
        sampler: Sampler,
        renderer: ChatRenderer,
        executor: ToolExecutor,
        *,
        budgets: Budgets,
        seed: int,
        temperature: float,
        run_id: str,
        context_length: int,
    ) -> None:
        self._sampler = sampler
        self._renderer = renderer
        self._executor = executor
        self._settings = EpisodeSettings(
            budgets=budgets,
            seed=seed,
            temperature=temperature,
            run_id=run_id,
            context_length=context_length,
        )

    async def run(
        self,
        requests: Sequence[RolloutRequest],
        on_done: Callable[[Trajectory], None] | None = None,
        *,
        greedy: bool = False,
    ) -> list[Trajectory]:
        """Roll out every request; `on_done` hears of each as it ends.

        If one rollout raises (a bug or a refused template, never a tool fault), the others are
        cancelled and the error is raised.
        """
        counter = self._sampler if isinstance(self._sampler, CountsRollouts) else None
        if counter is not None:
            counter.enter(len(requests))
        tasks = [
            asyncio.create_task(self._one(request, order, greedy, on_done))
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
        greedy: bool,
        on_done: Callable[[Trajectory], None] | None,
    ) -> Trajectory:
        episode = Episode(
            request,
            self._settings,
            sampler=self._sampler,
            renderer=self._renderer,
            executor=self._executor,
            order=order,
            temperature=0.0 if greedy else self._settings.temperature,
        )
        trajectory = await episode.run()
        if on_done is not None:
            on_done(trajectory)
        return trajectory
