"""The validation reward of a model that TRL trains, measured by Hone's rollouts.

So both sides are measured by the same evaluation: the same rows, tools, limits and grader. Its
seconds are nobody's; its tools answer at once.
"""

from __future__ import annotations

import asyncio
import statistics
from contextlib import aclosing
from typing import Any

from benchmarks.engine import world
from benchmarks.engine.tool_server import serving
from graders.sandbox.client import PythonSandbox
from hone.core.net.client import AsyncGuardedClient
from hone.core.net.policy import OutboundPolicy
from hone.demo.world.tasks import grader_spec, validation_rows
from jobs.engine.rollout.episode import EpisodeSettings
from jobs.engine.rollout.grading import RewardGrader
from jobs.engine.rollout.render import ChatRenderer
from jobs.engine.rollout.runner import RolloutRequest, RolloutRunner
from jobs.engine.rollout.tools import ToolExecutor
from jobs.engine.sampling.local import LocalSampler
from jobs.engine.types import Task, Trajectory


async def roll_out(
    model: Any, tokenizer: Any, port: int, requests: list[RolloutRequest]
) -> list[Trajectory]:
    """Graded rollouts of a model, as a job makes them."""
    network = OutboundPolicy.parse([f"127.0.0.1:{port}"])
    async with aclosing(AsyncGuardedClient(network)) as client:
        runner = RolloutRunner(
            LocalSampler(
                model, tokenizer, device="cpu", lock_step=False, capacity=world.TOTAL_TOKENS
            ),
            ChatRenderer(tokenizer),
            ToolExecutor(world.tool_specs(port), {}, client),
            EpisodeSettings(
                budgets=world.budgets(),
                seed=world.SEED,
                temperature=world.TEMPERATURE,
                run_id="bench",
                context_length=world.TOTAL_TOKENS,
            ),
        )
        members = await runner.run(requests)
    with PythonSandbox() as sandbox:
        grader = RewardGrader(grader_spec(), python=sandbox)
        await asyncio.gather(
            *(
                grader.grade(member, request.task)
                for member, request in zip(members, requests, strict=True)
            )
        )
    return members


class Validation:
    """Evaluates between training steps."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer

    def reward(self, model: Any, step: int) -> float:
        """The mean over the validation rows; the model is left as it was."""
        training = model.training
        requests = [
            RolloutRequest(
                Task(row, tuple(item["messages"]), (), item), str(row), 0, "validation", step
            )
            for row, item in enumerate(validation_rows(count=world.VALIDATION_ROWS))
        ]
        with serving(0) as port:
            members = asyncio.run(roll_out(model, self._tokenizer, port, requests))
        model.train(training)
        return statistics.fmean(member.reward for member in members if member.reward is not None)
