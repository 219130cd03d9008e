"""Rewards: clamped at limits, absent on errors, and never invented."""

from __future__ import annotations

import asyncio
import time

import pytest

from graders.kinds.base import Grading, GradingError
from jobs.engine.rollout.grading import (
    HeldOutScore,
    RewardGrader,
    apply_grading,
    make_sample,
    make_turn_sample,
)
from jobs.engine.types import StopReason, Task, ToolCall, Trajectory, Turn

SPEC = {
    "type": "string_check",
    "name": "exact",
    "input": "{{sample.output_text}}",
    "reference": "{{item.answer}}",
    "operation": "eq",
}
TASK = Task(row=0, messages=(), tools=(), item={"answer": "42"})


class ScriptedGrader:
    """Gives its gradings one after the other, the last one for ever."""

    def __init__(self, *gradings, delay=0.0):
        self.calls = 0
        self._gradings = gradings
        self._delay = delay

    def grade(self, sample, item):
        time.sleep(self._delay)
        grading = self._gradings[min(self.calls, len(self._gradings) - 1)]
        self.calls += 1
        if isinstance(grading, Exception):
            raise grading
        return grading

    def variables(self):
        return frozenset()


def make_trajectory(answer="42", stop=StopReason.FINAL_ANSWER):
    calls = [ToolCall(id="call_1", name="search", arguments="{}", output="x", status="ok")]
    turns = [
        Turn(index=0, start=0, end=1, text="", calls=calls),
        Turn(index=1, start=1, end=2, text=answer, content=answer),
    ]
    return Trajectory(
        uid="t-0-g-0",
        row=0,
        group="g",
        sample=0,
        split="train",
        trace_id="trace_0",
        ids=[1, 2],
        logprobs=[0.0, 0.0],
        entropies=[0.0, 0.0],
        kinds=[1, 1],
        turns=turns,
        stop=stop,
    )


def grade(trajectory, grader=None):
    reward_grader = RewardGrader(SPEC, retry_delay_s=0.001)
    if grader is not None:
        reward_grader._grader = grader
    asyncio.run(reward_grader.grade(trajectory, TASK))
    return trajectory


@pytest.mark.parametrize(("answer", "reward"), [("42", 1.0), ("41", 0.0)])
def test_the_final_answer_is_graded(answer, reward):
    assert grade(make_trajectory(answer)).reward == reward


@pytest.mark.parametrize("stop", [StopReason.TOOL_LOOP, StopReason.TURN_LIMIT])
def test_a_rollout_that_a_limit_stopped_earns_nothing(stop):
    trajectory = grade(make_trajectory(stop=stop))
    assert trajectory.reward == 0.0
    assert trajectory.grading["raw_reward"] == 1.0
    assert trajectory.stop is stop


def test_a_penalty_is_kept_at_a_limit():
    trajectory = make_trajectory(stop=StopReason.TOKEN_LOOP)
    apply_grading(trajectory, Grading(reward=-0.5, parts={"a": -0.5}))
    assert (trajectory.reward, trajectory.parts) == (-0.5, {"a": -0.5})


@pytest.mark.parametrize("stop", [StopReason.TOOL_FAULT, StopReason.TIME_LIMIT])
def test_what_the_world_ended_is_not_graded(stop):
    grader = ScriptedGrader(Grading(reward=1.0))
    assert grade(make_trajectory(stop=stop), grader).reward is None
    assert grader.calls == 0


def test_a_sample_says_what_it_spent():
    trajectory = make_trajectory("thought42")
    trajectory.turns[1].reasoning = "thought"
    trajectory.turns[1].start, trajectory.turns[1].end = 1, 10
    trajectory.kinds = [0] + [1] * 9 + [2]
    spent = {"completion_tokens": 9, "reasoning_tokens": 7, "tool_calls": 1, "turns": 2}
    assert make_sample(trajectory, None).as_dict()["usage"] == spent
    alone = {"completion_tokens": 9, "reasoning_tokens": 7, "tool_calls": 0, "turns": 1}
    assert make_turn_sample(trajectory, 1, None).as_dict()["usage"] == alone


def test_an_error_is_no_reward_and_is_not_tried_again():
    error = GradingError("python_grader_runtime", "division by zero")
    grader = ScriptedGrader(Grading(reward=None, error=error))
    trajectory = grade(make_trajectory(), grader)
    assert trajectory.reward is None
    assert trajectory.cause == "grader: division by zero"
    assert trajectory.grading["code"] == "python_grader_runtime"
    assert grader.calls == 1
    assert trajectory.stop is StopReason.FINAL_ANSWER


def test_the_worlds_faults_are_tried_three_times():
    error = GradingError("python_grader_server", "no sandbox", infra=True)
    grader = ScriptedGrader(Grading(reward=None, error=error))
    trajectory = grade(make_trajectory(), grader)
    assert (trajectory.reward, trajectory.stop, grader.calls) == (None, StopReason.GRADER_FAULT, 3)


def test_a_fault_that_passes_leaves_no_trace():
    error = GradingError("python_grader_server", "busy", infra=True)
    grader = ScriptedGrader(Grading(reward=None, error=error), Grading(reward=0.5))
    trajectory = grade(make_trajectory(), grader)
    assert (trajectory.reward, trajectory.cause) == (0.5, "")


@pytest.mark.parametrize("reward", [float("nan"), float("inf"), None])
def test_a_reward_that_is_no_number_is_no_reward(reward):
    trajectory = make_trajectory()
    apply_grading(trajectory, Grading(reward=reward))
    assert trajectory.reward is None
    assert "the grader returned" in trajectory.cause


def test_a_grader_that_raises_leaves_the_rollout_ungraded():
    trajectory = grade(make_trajectory(), ScriptedGrader(KeyError("x")))
    assert trajectory.reward is None
    assert "KeyError" in trajectory.cause


def test_rollouts_are_graded_side_by_side():
    async def run():
        grader = RewardGrader(SPEC, concurrency=8)
        grader._grader = ScriptedGrader(Grading(reward=1.0), delay=0.1)
        await asyncio.gather(*(grader.grade(make_trajectory(), TASK) for _ in range(8)))

    started = time.monotonic()
    asyncio.run(run())
    assert time.monotonic() - started < 0.5


def test_the_sample_holds_all_calls_of_the_rollout_in_order():
    sample = make_sample(make_trajectory(), None).as_dict()
    assert [tool["function"]["name"] for tool in sample["output_tools"]] == ["search"]
    assert sample["choices"][0]["message"]["tool_calls"] == []
    assert "output_json" not in sample


@pytest.mark.parametrize(("answer", "parsed"), [('{"a": 1}', {"a": 1}), ("no json", None)])
def test_output_json_is_there_with_a_response_format_only(answer, parsed):
    sample = make_sample(make_trajectory(answer), {"type": "json_schema"}).as_dict()
    assert sample["output_json"] == parsed


def held_out(trajectory, grading):
    """The score of a second grader that gives `grading`."""
    second = HeldOutScore(SPEC, retry_delay_s=0.001)
    second._grader = ScriptedGrader(grading)
    return asyncio.run(second.score(trajectory, TASK))


def test_a_held_out_score_is_kept_beside_the_reward_and_changes_nothing_else():
    trajectory = grade(make_trajectory())
    assert held_out(trajectory, Grading(reward=0.25, parts={"b": 0.25})) == 0.25
    assert trajectory.grading["held_out"] == {"reward": 0.25}
    assert (trajectory.reward, trajectory.parts) == (1.0, {})
    assert trajectory.grading["raw_reward"] == 1.0


def test_a_held_out_score_is_clamped_at_limits_as_the_reward_is():
    trajectory = grade(make_trajectory(stop=StopReason.TURN_LIMIT))
    assert held_out(trajectory, Grading(reward=0.25)) == 0.0
    assert trajectory.grading["held_out"] == {"reward": 0.0}


@pytest.mark.parametrize("infra", [True, False])
def test_an_error_of_the_held_out_grader_takes_nothing_from_the_rollout(infra):
    trajectory = grade(make_trajectory())
    error = GradingError("python_grader_server", "no sandbox", infra=infra)
    assert held_out(trajectory, Grading(reward=None, error=error)) is None
    kept = {"error": "no sandbox", "code": "python_grader_server"}
    assert trajectory.grading["held_out"] == kept
    assert (trajectory.reward, trajectory.stop) == (1.0, StopReason.FINAL_ANSWER)
    assert trajectory.cause == ""


def test_a_faulted_rollout_has_no_held_out_score():
    trajectory = make_trajectory(stop=StopReason.TOOL_FAULT)
    assert held_out(trajectory, Grading(reward=1.0)) is None
    assert trajectory.grading == {}
