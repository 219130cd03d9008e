"""Gives rollouts their rewards. An error is never a score: such a rollout stays ungraded."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from graders.kinds.base import Grader, Grading, GradingError, PythonRunner, Sample
from graders.kinds.registry import load_grader
from jobs.engine.types import FAULTS, LIMIT_STOPS, StopReason, Task, ToolCall, Trajectory

MAX_TRIES = 3


class RewardGrader:
    """The grader of one job, run for many rollouts at once in threads of its own."""

    def __init__(
        self,
        spec: dict[str, Any],
        *,
        python: PythonRunner | None = None,
        response_format: Mapping[str, Any] | None = None,
        concurrency: int = 4,
        retry_delay_s: float = 0.5,
    ) -> None:
        self._grader: Grader = load_grader(spec, python=python)
        self._response_format = response_format
        self._retry_delay_s = retry_delay_s
        self._threads = ThreadPoolExecutor(max_workers=concurrency, thread_name_prefix="grader")

    async def grade(self, trajectory: Trajectory, task: Task) -> None:
        """Fill in reward, parts and grading; a rollout that a fault ended is left ungraded."""
        if trajectory.stop in FAULTS:
            trajectory.reward = None
            return
        sample = make_sample(trajectory, self._response_format)
        grading = await self._grade_with_retries(sample, task)
        apply_grading(trajectory, grading)

    async def _grade_with_retries(self, sample: Sample, task: Task) -> Grading:
        loop = asyncio.get_running_loop()
        for attempt in range(MAX_TRIES):
            grading = await loop.run_in_executor(
                self._threads, _grade_once, self._grader, sample, task.item
            )
            if grading.error is None or not grading.error.infra:
                break
            if attempt + 1 < MAX_TRIES:
                await asyncio.sleep(self._retry_delay_s * 2**attempt)
        return grading


def _grade_once(grader: Grader, sample: Sample, item: Mapping[str, Any]) -> Grading:
    try:
        return grader.grade(sample, item)
    except Exception as error:  # noqa: BLE001 - one grader's bug must not end the job's step
        message = f"the grader failed with {type(error).__name__}: {error}"
        return Grading(reward=None, error=GradingError("other", message))


def make_sample(trajectory: Trajectory, response_format: Mapping[str, Any] | None) -> Sample:
    """What graders see of a rollout; `output_tools` holds all its calls, in order."""
    answer = trajectory.answer
    return Sample(
        output_text=answer,
        output_tools=[_shown_call(call) for call in trajectory.calls],
        output_json=_parse_json(answer) if response_format else None,
        has_output_json=bool(response_format),
        choices=[
            {
                "index": 0,
                "finish_reason": "length" if trajectory.stop in LIMIT_STOPS else "stop",
                "message": {"role": "assistant", "content": answer, "tool_calls": []},
            }
        ],
    )


def _shown_call(call: ToolCall) -> dict[str, Any]:
    return {
        "id": call.id,
        "type": "function",
        "function": {"name": call.name, "arguments": call.arguments},
        "output": call.output,
        "status": call.status,
    }


def _parse_json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def apply_grading(trajectory: Trajectory, grading: Grading) -> None:
    """Write the result into the trajectory; one that a limit stopped earns at most 0."""
    trajectory.parts = dict(grading.parts)
    trajectory.grading = {"seconds": grading.seconds, "stdout": grading.stdout}
    reward = grading.reward
    if grading.error is not None or reward is None or not math.isfinite(reward):
        error = grading.error or GradingError("other", f"the grader returned {reward}")
        trajectory.reward = None
        trajectory.cause = f"grader: {error.message}"
        trajectory.grading |= {"error": error.message, "code": error.code}
        if error.infra:
            trajectory.stop = StopReason.GRADER_FAULT
        return
    trajectory.grading |= {"raw_reward": reward}
    trajectory.reward = min(reward, 0.0) if trajectory.stop in LIMIT_STOPS else reward
