"""Gives rollouts their rewards. An error is never a score: such a rollout stays ungraded."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec

from graders.kinds.base import Grader, Grading, GradingError, PythonRunner, Sample, Spent
from graders.kinds.outside import Outside
from graders.kinds.parts import calls_out
from graders.kinds.registry import load_grader
from jobs.engine.types import FAULTS, LIMIT_STOPS, StopReason, Task, ToolCall, Trajectory, Turn

MAX_TRIES = 3
AT_ONCE = 4
CALLS_AT_ONCE = 64
"""Graders that call out mostly wait."""


class GraderRuns:
    """One grader, run for many samples at once in threads of its own."""

    def __init__(
        self,
        spec: dict[str, Any],
        *,
        python: PythonRunner | None = None,
        outside: Outside | None = None,
        response_format: Mapping[str, Any] | None = None,
        concurrency: int | None = None,
        retry_delay_s: float = 0.5,
    ) -> None:
        self._grader: Grader = load_grader(spec, python=python, outside=outside)
        self._response_format = response_format
        self._retry_delay_s = retry_delay_s
        workers = concurrency or (CALLS_AT_ONCE if calls_out(spec) else AT_ONCE)
        self._threads = ThreadPoolExecutor(max_workers=workers, thread_name_prefix="grader")

    async def _grade_with_retries(self, sample: Sample, task: Task) -> Grading:
        loop = asyncio.get_running_loop()
        for attempt in range(MAX_TRIES):
            grading = await loop.run_in_executor(
                self._threads, _grade_once, self._grader, sample, task.item
            )
            if grading.error is None or not _worth_another_try(grading.error):
                break
            if attempt + 1 < MAX_TRIES:
                await asyncio.sleep(self._retry_delay_s * 2**attempt)
        return grading


class RewardGrader(GraderRuns):
    """The grader of one job."""

    async def grade(self, trajectory: Trajectory, task: Task) -> None:
        """Fill in reward, parts and grading; a rollout that a fault ended is left ungraded."""
        if trajectory.stop in FAULTS:
            trajectory.reward = None
            return
        sample = make_sample(trajectory, self._response_format)
        grading = await self._grade_with_retries(sample, task)
        apply_grading(trajectory, grading)


class NoGrader:
    """Where nothing is graded, nothing is wrong with a rollout that has no reward."""

    async def grade(self, trajectory: Trajectory, task: Task) -> None:
        """Leave it as it is."""


class HeldOutScore(GraderRuns):
    """A second grader that nothing is trained on; it changes neither reward nor stop reason."""

    async def score(self, trajectory: Trajectory, task: Task) -> float | None:
        """What it gives, kept in `grading["held_out"]`. Run after `RewardGrader.grade`, which
        writes `grading` anew."""
        if trajectory.stop in FAULTS:
            return None
        sample = make_sample(trajectory, self._response_format)
        reward = reward_or_error(await self._grade_with_retries(sample, task))
        if isinstance(reward, GradingError):
            trajectory.grading["held_out"] = {"error": reward.message, "code": reward.code}
            return None
        # As the reward is, so that a gap between the two is one of the graders alone.
        reward = clamped(reward, trajectory)
        trajectory.grading["held_out"] = {"reward": reward}
        return reward


def _worth_another_try(error: GradingError) -> bool:
    """Judges and endpoints have been asked as often as their budgets allow."""
    return error.infra and error.code not in {"model_grader_server", "unresponsive_reward"}


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
        choices=[_choice(answer, "length" if trajectory.stop in LIMIT_STOPS else "stop")],
        trace_id=trajectory.trace_id,
        usage=Spent(
            completion_tokens=trajectory.sampled_tokens,
            reasoning_tokens=trajectory.reasoning_tokens,
            tool_calls=len(trajectory.calls),
            turns=len(trajectory.turns),
        ),
    )


def make_turn_sample(
    trajectory: Trajectory, index: int, response_format: Mapping[str, Any] | None
) -> Sample:
    """What a grader of turns sees: one turn alone, and in `turn` its place and what was before."""
    turn, count = trajectory.turns[index], len(trajectory.turns)
    text = turn_output(turn)
    cut = index + 1 == count and trajectory.stop in LIMIT_STOPS
    usual = "tool_calls" if turn.calls else "stop"
    return Sample(
        output_text=text,
        output_tools=[_shown_call(call) for call in turn.calls],
        output_json=_parse_json(text) if response_format else None,
        has_output_json=bool(response_format),
        choices=[_choice(text, "length" if cut else usual)],
        trace_id=trajectory.trace_id,
        usage=Spent(
            completion_tokens=turn.tokens,
            reasoning_tokens=turn.reasoning_tokens,
            tool_calls=len(turn.calls),
            turns=1,
        ),
        turn={
            "index": index,
            "count": count,
            "earlier": [
                {
                    "output_text": turn_output(earlier),
                    "output_tools": [_shown_call(call) for call in earlier.calls],
                }
                for earlier in trajectory.turns[:index]
            ],
        },
    )


def turn_output(turn: Turn) -> str:
    """What the turn says beside its calls; where that is nothing, all that the model wrote."""
    return turn.content or turn.text


def _choice(content: str, finish_reason: str) -> dict[str, Any]:
    return {
        "index": 0,
        "finish_reason": finish_reason,
        "message": {"role": "assistant", "content": content, "tool_calls": []},
    }


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
    if grading.usage:
        trajectory.grading |= {
            "usage": msgspec.to_builtins(grading.usage),
            "sampled_model": grading.sampled_model,
        }
    reward = reward_or_error(grading)
    if isinstance(reward, GradingError):
        trajectory.reward = None
        trajectory.cause = f"grader: {reward.message}"
        trajectory.grading |= {"error": reward.message, "code": reward.code}
        if reward.infra:
            trajectory.stop = StopReason.GRADER_FAULT
        return
    trajectory.grading |= {"raw_reward": reward}
    trajectory.reward = clamped(reward, trajectory)


def reward_or_error(grading: Grading) -> float | GradingError:
    """A finite reward, or why there is none."""
    reward = grading.reward
    if grading.error is not None or reward is None or not math.isfinite(reward):
        return grading.error or GradingError("other", f"the grader returned {reward}")
    return reward


def clamped(reward: float, trajectory: Trajectory) -> float:
    """A rollout that a limit stopped earns at most 0."""
    return min(reward, 0.0) if trajectory.stop in LIMIT_STOPS else reward
