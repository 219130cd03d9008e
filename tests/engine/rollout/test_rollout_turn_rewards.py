"""Turns scored by a grader: each alone, with what was before it; an error is no score."""

from __future__ import annotations

import asyncio

import pytest

from graders.kinds.base import Grading, GradingError
from graders.sandbox.client import PythonSandbox
from jobs.engine.rollout.grading import make_sample, make_turn_sample
from jobs.engine.rollout.turn_rewards import GraderTurnScores, TurnScoresOutage
from jobs.engine.types import StopReason, Task, ToolCall, Trajectory, Turn

SPEC = {
    "type": "string_check",
    "name": "exact",
    "input": "{{sample.output_text}}",
    "reference": "{{item.answer}}",
    "operation": "eq",
}
TASKS = {0: Task(row=0, messages=(), tools=(), item={"answer": "42"})}
BUSY = GradingError("python_grader_server", "no sandbox", infra=True)
BROKEN = GradingError("python_grader_runtime", "division by zero")


class Scripted:
    """Answers by what the turn says, and counts how often each was asked about."""

    def __init__(self, **gradings):
        self.asked = []
        self._gradings = {text: list(given) for text, given in gradings.items()}

    def grade(self, sample, item):
        self.asked.append(sample.output_text)
        given = self._gradings[sample.output_text]
        return given.pop(0) if len(given) > 1 else given[0]

    def variables(self):
        return frozenset()


def failed(error):
    return Grading(reward=None, error=error)


def rollout(*contents, uid="a", reward=1.0, stop=StopReason.FINAL_ANSWER):
    """All turns but the last have a call that found what they say."""
    turns = [
        Turn(index=index, start=index, end=index + 1, text=f"<{content}>", content=content)
        for index, content in enumerate(contents)
    ]
    for turn in turns[:-1]:
        call = {"id": f"c{turn.index}", "name": "search", "arguments": "{}", "status": "ok"}
        turn.calls = [ToolCall(**call, output=f"found {turn.content}")]
    return Trajectory(
        uid=uid,
        row=0,
        group="g",
        sample=0,
        split="train",
        trace_id="t",
        ids=[],
        logprobs=[],
        entropies=[],
        kinds=[],
        turns=turns,
        reward=reward,
        stop=stop,
    )


def score(*rollouts, grader=None, spec=SPEC, python=None):
    source = GraderTurnScores(spec, python=python, retry_delay_s=0.001)
    if grader is not None:
        source._grader = grader
    return asyncio.run(source.score(rollouts, TASKS))


def test_each_turn_is_graded_by_what_it_says_itself():
    assert score(rollout("42", "41", "42")) == {"a": [1.0, 0.0, 1.0]}


def test_a_turn_that_says_nothing_beside_its_calls_is_graded_by_all_it_wrote():
    assert make_turn_sample(rollout("", "42"), 0, None).output_text == "<>"


def test_a_python_grader_sees_the_turns_place_its_calls_and_the_turns_before():
    source = (
        "def grade(sample, item):\n"
        "    turn = sample['turn']\n"
        "    own = [tool['output'] for tool in sample['output_tools']]\n"
        "    before = [t['output'] for e in turn['earlier'] for t in e['output_tools']]\n"
        "    said = [e['output_text'] for e in turn['earlier']]\n"
        "    places = {0: [['found x'], [], []], 1: [['found y'], ['found x'], ['x']]}\n"
        "    assert places.get(turn['index'], [[], before, ['x', 'y']]) == [own, before, said]\n"
        "    return turn['index'] + 10 * turn['count']\n"
    )
    with PythonSandbox() as sandbox:
        spec = {"type": "python", "name": "own", "source": source}
        found = score(rollout("x", "y", "z"), spec=spec, python=sandbox)
    assert found == {"a": [30.0, 31.0, 32.0]}


def test_kinds_that_look_at_calls_and_tokens_see_the_turn_alone():
    called = {"type": "tool_trace", "checks": [{"called": "search"}]}
    brief = {"type": "budget", "measure": "tool_calls", "limit": 2}
    graders = {"called": called, "brief": brief}
    spec = {"type": "multi", "graders": graders, "calculate_output": "10 * called + brief"}
    one = rollout("x", "y", "z")
    found = [bool(turn.calls) for turn in one.turns]
    assert found == [True, True, False]
    assert score(one, spec=spec) == {"a": [10.5, 10.5, 1.0]}


def test_the_sample_of_a_whole_rollout_names_no_turn():
    one = rollout("x", "y")
    assert "turn" in make_turn_sample(one, 1, None).as_dict()
    assert "turn" not in make_sample(one, None).as_dict()


def test_only_the_turn_that_a_limit_cut_is_shown_as_cut():
    cut = rollout("x", "y", stop=StopReason.TURN_TOKEN_LIMIT)
    reasons = [make_turn_sample(cut, i, None).choices[0]["finish_reason"] for i in (0, 1)]
    assert reasons == ["tool_calls", "length"]


def test_an_error_of_the_grader_leaves_the_turn_unscored_with_its_reason():
    grader = Scripted(x=[failed(BROKEN)], y=[Grading(reward=0.25)])
    one = rollout("x", "y")
    assert score(one, grader=grader) == {"a": [None, 0.25]}
    assert one.grading["turn_scores"] == [
        {"score": None, "reason": "python_grader_runtime: division by zero"},
        {"score": 0.25, "reason": ""},
    ]
    assert grader.asked.count("x") == 1


def test_a_fault_of_the_world_is_tried_three_times_and_is_then_no_score():
    grader = Scripted(x=[failed(BUSY)], y=[Grading(reward=0.5)])
    assert score(rollout("x", "y"), grader=grader) == {"a": [None, 0.5]}
    assert grader.asked.count("x") == 3


def test_a_fault_that_passes_costs_no_score():
    grader = Scripted(x=[failed(BUSY), Grading(reward=0.75)])
    assert score(rollout("x"), grader=grader) == {"a": [0.75]}


def test_faults_of_more_than_half_of_the_turns_are_an_outage():
    grader = Scripted(x=[failed(BUSY)], y=[Grading(reward=0.5)])
    with pytest.raises(TurnScoresOutage) as caught:
        score(rollout("x", "x", "y"), grader=grader)
    assert caught.value.text == (
        "More than half of 3 gradings of turns failed, most often: no sandbox."
    )
    assert not caught.value.permanent


@pytest.mark.parametrize("reward", [float("nan"), float("inf")])
def test_a_score_that_is_no_number_is_no_score(reward):
    assert score(rollout("x"), grader=Scripted(x=[Grading(reward=reward)])) == {"a": [None]}


def test_rollouts_without_a_reward_are_not_asked_about():
    grader = Scripted(x=[Grading(reward=0.5)])
    lost = rollout("x", "x", uid="b", reward=None)
    faulted = rollout("x", uid="c", stop=StopReason.TOOL_FAULT)
    found = score(rollout("x"), lost, faulted, grader=grader)
    assert found == {"a": [0.5], "b": [None, None], "c": [None]}
    assert grader.asked == ["x"]
    assert "turn_scores" not in lost.grading
