"""A whole run whose turns are scored: what is stored is what was trained on."""

from __future__ import annotations

import asyncio
import io
import json

import pytest

from jobs.engine.__main__ import run_to_event
from jobs.engine.control import ControlReader
from jobs.engine.events import Finished
from jobs.engine.ranks import Alone
from jobs.engine.reporting import EventWriter, read_bodies
from jobs.engine.spec import (
    Budgets,
    CounterfactualSpec,
    CreditSpec,
    DataSpec,
    Handshake,
    JobSpec,
    TurnRewardSpec,
)

GRADER = {
    "type": "text_similarity",
    "name": "close",
    "input": "{{sample.output_text}}",
    "reference": "{{item.answer}}",
    "evaluation_metric": "fuzzy_match",
}
CONSTANT = {
    "type": "string_check",
    "name": "same",
    "operation": "eq",
    "input": "{{item.answer}}",
    "reference": "{{item.answer}}",
}


@pytest.fixture
def train(tiny_model_dir, tmp_path):
    """One step of two groups of four; returns its event and its training rollouts."""
    data = tmp_path / "tasks.jsonl"
    row = {"messages": [{"role": "user", "content": "Say it"}], "answer": "abcdefgh"}
    data.write_text(f"{json.dumps(row)}\n" * 3)

    def run(**changes):
        spec = JobSpec(
            run_id="r",
            model_path=str(tiny_model_dir),
            device="cpu",
            # Rows of the file are not places among the rows that take part.
            train=DataSpec(path=str(data), rows=(1, 2)),
            validation=DataSpec(path=str(data), rows=(0,)),
            grader=GRADER,
            budgets=Budgets(max_turns=1, max_turn_tokens=24, max_total_tokens=256),
            steps=1,
            groups_per_step=2,
            group_size=4,
            deterministic=True,
            **changes,
        )
        handshake = Handshake(spec=spec, run_dir=str(tmp_path / "run"))
        stream = io.BytesIO()
        ended = run_to_event(handshake, EventWriter(stream), ControlReader(None), Alone())
        last = asyncio.run(ended)
        assert isinstance(last, Finished), last
        events = [json.loads(line) for line in stream.getvalue().splitlines()]
        step = [event for event in events if event["event"] == "StepDone"][1]
        members = read_bodies(tmp_path / "run" / step["bodies"])
        return step, [member for member in members if member.trained]

    return run


@pytest.mark.slow
def test_a_grader_of_turns_adds_its_term(train):
    wanted = TurnRewardSpec(weight=0.5, grader=GRADER)
    step, members = train(credit=CreditSpec(turn_rewards=wanted))
    told = step["metrics"]["credit"]
    assert told["turns_scored"] == told["turns"] == len(members) > 0
    for member in members:
        # The rollout is its only turn, and the grader of turns the same: the terms agree.
        (turn,), (credit,) = member.turns, member.attribution
        assert turn.score == pytest.approx(member.grading["raw_reward"])
        group = [m.turns[0].score for m in members if m.group == member.group]
        assert credit.process == pytest.approx(0.5 * (turn.score - sum(group) / len(group)))
        assert credit.episode == member.advantage


@pytest.mark.slow
def test_the_answering_turn_gains_no_information_and_is_said_to_be_unscored(train):
    step, members = train(credit=CreditSpec(turn_rewards=TurnRewardSpec(gold="{{item.answer}}")))
    told = step["metrics"]["credit"]
    assert (told["turns_scored"], told["turns_unscored"]) == (0, len(members))
    assert [member.attribution[0].process for member in members] == [0.0] * len(members)


@pytest.mark.slow
def test_without_tool_calls_there_is_nothing_to_continue(train):
    credit = CreditSpec(counterfactual=CounterfactualSpec(weight=1.0))
    step, _ = train(credit=credit)
    told = step["metrics"]["credit"]
    assert (told["continuations_measured"], told["continuations_rollouts"]) == (0, 0)


@pytest.mark.slow
def test_a_held_out_grader_scores_validation_and_trains_nothing(train):
    step, members = train(held_out_grader=CONSTANT)
    validation = step["metrics"]["validation"]
    # It would give 1, and as the reward is it is clamped where a limit stopped the rollout.
    assert (validation["held_out_mean"], validation["reward_mean"]) == (0.0, 0.0)
    assert step["metrics"]["train"]["held_out_mean"] is None
    assert not any("held_out" in member.grading for member in members)
