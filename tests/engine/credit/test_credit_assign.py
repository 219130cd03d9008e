"""What each turn is trained on, term by term, from whole groups."""

from __future__ import annotations

import pytest

from jobs.engine.credit.assign import assign_credit
from jobs.engine.credit.attribution import token_advantages
from jobs.engine.credit.groups import Group, Signal
from jobs.engine.spec import (
    CounterfactualSpec,
    CreditSpec,
    DataSpec,
    JobSpec,
    LengthSpec,
    TurnRewardSpec,
)
from jobs.engine.types import Measured
from tests.engine.credit.rollouts import rollout

JUDGE = {"type": "string_check"}
SURE = 9.0
"""An open gate."""
DOOR = ("{}", "a door")
WALL = ("{}", "a wall")


def group(*members, name="g"):
    return Group(name, tuple(members))


def rewards(*groups):
    return {member.uid: member.reward for each in groups for member in each.members}


def pair():
    """One that solves it, one that does not; both see the door first."""
    return group(rollout("a", 1.0, DOOR, "in"), rollout("b", 0.0, DOOR, WALL, "out"))


def credited(groups, credit, evidence=0.0):
    return assign_credit(groups, rewards(*groups), credit, evidence=evidence)


def scored(each, *scores):
    for member, score in zip(each.members, scores, strict=True):
        member.turns[0].score = score
    return each


def records(each, name):
    return [[getattr(record, name) for record in member.attribution] for member in each.members]


def test_without_further_terms_every_turn_carries_the_episode_alone():
    one = pair()
    report = credited([one], CreditSpec())
    assert records(one, "total") == [[0.5, 0.5], [-0.5, -0.5, -0.5]]
    assert records(one, "episode") == records(one, "total")
    assert records(one, "n") == [[0, 0], [0, 0, 0]]
    assert (report.turns, report.turns_with_evidence, report.coverage) == (5, 0, None)


def test_the_record_names_the_turn_and_its_only_call():
    one = pair()
    credited([one], CreditSpec())
    assert [(r.turn, r.tool_call_id) for r in one.members[1].attribution] == [
        (0, "c0"),
        (1, "c1"),
        (2, None),
    ]


def maze():
    """Behind the door, who goes in wins, and who does not does not."""
    return group(
        *(rollout(f"w{i}", 1.0, DOOR, "in") for i in range(4)),
        *(rollout(f"l{i}", 0.0, DOOR, "out") for i in range(4)),
    )


def test_the_step_term_is_weighted_and_added():
    one = maze()
    report = credited([one], CreditSpec(anchored_weight=2.0, gamma=1.0), evidence=SURE)
    # The mean of the eight at the door is 0.5, and so is that at the start.
    assert records(one, "step") == [[1.0, 1.0]] * 4 + [[-1.0, -1.0]] * 4
    assert records(one, "total")[0] == [1.5, 1.5]
    assert records(one, "n")[0] == [8, 8]
    # t of seven degrees of freedom.
    half = 2.3646 * (2 / 7) ** 0.5 / 8**0.5
    interval = one.members[0].attribution[1].interval
    assert interval == pytest.approx((1 - 2 * half, 1 + 2 * half), abs=1e-3)
    assert (report.turns, report.turns_with_evidence) == (16, 16)


def test_a_closed_gate_adds_nothing_and_claims_nothing():
    one = group(rollout("a", 1.0, DOOR, "in"), rollout("b", 0.0, WALL, "out"))
    report = credited([one], CreditSpec(anchored_weight=1.0))
    assert report.coverage.weight == 0.0
    assert records(one, "step") == [[0.0, 0.0], [0.0, 0.0]]
    assert records(one, "n") == [[0, 0], [0, 0]]
    assert records(one, "interval") == [[None, None], [None, None]]
    assert report.turns_with_evidence == 0


def test_turn_scores_are_weighted_and_added():
    one = scored(group(rollout("a", 1.0, "x"), rollout("b", 0.0, "y")), 0.75, 0.25)
    credit = CreditSpec(turn_rewards=TurnRewardSpec(weight=0.5, grader=JUDGE))
    report = credited([one], credit)
    assert records(one, "process") == [[0.125], [-0.125]]
    assert records(one, "total") == [[0.625], [-0.625]]
    assert report.turns_with_evidence == 2


def test_turn_scores_do_not_let_a_group_in_that_failed_as_a_whole():
    one = scored(group(rollout("a", 0.0, "x"), rollout("b", 0.0, "y")), 1.0, 0.0)
    report = credited([one], CreditSpec(turn_rewards=TurnRewardSpec(grader=JUDGE)))
    assert [member.trained for member in one.members] == [False, False]
    assert records(one, "total") == [[], []]
    assert report.counts[Signal.ALL_FAILED] == 1


MEASURED = Measured(delta=0.5, n=8, interval=(0.25, 0.75))


def test_what_continuations_measured_trains_by_its_weight():
    one = pair()
    credit = CreditSpec(counterfactual=CounterfactualSpec(weight=0.5))
    one.members[0].turns[0].measured = MEASURED
    credited([one], credit)
    first, second = one.members[0].attribution
    assert (first.counterfactual, first.total) == (0.25, 0.75)
    assert (first.n, first.interval) == (8, (0.125, 0.375))
    assert (second.counterfactual, second.n) == (0.0, 0)


def test_a_diagnosis_trains_nothing():
    one = pair()
    credit = CreditSpec(counterfactual=CounterfactualSpec(weight=0.0))
    one.members[0].turns[0].measured = MEASURED
    report = credited([one], credit)
    assert records(one, "total") == [[0.5, 0.5], [-0.5, -0.5, -0.5]]
    assert report.turns_with_evidence == 0


def with_calls(uid, reward, calls):
    return rollout(uid, reward, *[DOOR] * calls, "end")


def test_calls_over_the_budget_cost_by_the_pass_rate():
    one = group(with_calls("a", 1.0, 1), with_calls("b", 1.0, 3), with_calls("c", 0.0, 1))
    credit = CreditSpec(length=LengthSpec(call_penalty=0.3, call_budget=1))
    credited([one], credit)
    # Pass rate 2/3: b pays 2/3 * 0.3 * min(1, 2 / 1) = 0.2, so the mean is 0.6.
    assert [member.advantage for member in one.members] == pytest.approx([0.4, 0.2, -0.6])


def test_a_group_that_differs_by_length_alone_does_not_train():
    one = group(with_calls("a", 1.0, 1), with_calls("b", 1.0, 3))
    credited([one], CreditSpec(length=LengthSpec(call_penalty=0.3, call_budget=1)))
    assert [member.trained for member in one.members] == [False, False]


def test_reasoning_is_counted_by_its_share_of_the_text():
    one = rollout("a", 1.0, "x")
    one.turns[0].text, one.turns[0].reasoning = "hmmmmm42", "hmmmmm"
    one.turns[0].start, one.turns[0].end = 3, 11
    assert one.reasoning_tokens == 6


def test_credit_of_an_earlier_step_is_forgotten():
    one = pair()
    credited([one], CreditSpec())
    for member in one.members:
        member.reward = 1.0
    credited([one], CreditSpec())
    assert [(m.advantage, m.attribution, m.trained) for m in one.members] == [(None, [], False)] * 2


def test_each_token_has_the_advantage_of_its_turn():
    one = rollout("a", 1.0, DOOR, "in")
    one.ids = [0] * 7
    one.turns[0].start, one.turns[0].end = 1, 3
    one.turns[1].start, one.turns[1].end = 5, 7
    credited([Group("g", (one, rollout("b", 0.0, "out")))], CreditSpec())
    assert token_advantages(one) == [0.0, 0.5, 0.5, 0.0, 0.0, 0.5, 0.5]


@pytest.mark.parametrize(
    "credit",
    [
        CreditSpec(anchored_weight=1.0),
        CreditSpec(turn_rewards=TurnRewardSpec(grader=JUDGE)),
        CreditSpec(counterfactual=CounterfactualSpec(weight=0.5)),
    ],
)
def test_the_control_with_shuffled_rewards_allows_the_episode_alone(credit):
    data = DataSpec(path="none.jsonl")
    fields = {"run_id": "r", "model_path": "m", "train": data, "validation": data, "grader": {}}
    with pytest.raises(ValueError, match="shuffle_rewards is on"):
        JobSpec(**fields, credit=credit, shuffle_rewards=True)
    JobSpec(**fields, credit=CreditSpec(), shuffle_rewards=True)


def quick_and_slow(reward):
    """Behind the door four go in at once, four look at the wall first."""
    return group(
        *(rollout(f"q{i}", reward, DOOR, "in") for i in range(4)),
        *(rollout(f"s{i}", reward, DOOR, WALL, "in") for i in range(4)),
    )


def test_a_group_that_is_solved_as_a_whole_trains_by_the_step_term_alone():
    one = quick_and_slow(1.0)
    report = credited([one], CreditSpec(anchored_weight=1.0, gamma=0.5), evidence=SURE)
    # Behind the door the returns are 1 and 0.5, their mean 0.75.
    assert [member.advantage for member in one.members] == [0.0] * 8
    assert [member.trained for member in one.members] == [True] * 8
    assert records(one, "step")[0] == [0.125, 0.25]
    assert records(one, "step")[4][:2] == [-0.125, -0.25]
    assert report.counts[Signal.ALL_SOLVED] == 1


def test_nobody_hastens_a_group_that_failed_as_a_whole():
    one = quick_and_slow(0.0)
    credited([one, maze()], CreditSpec(anchored_weight=1.0, gamma=0.5), evidence=SURE)
    assert [member.trained for member in one.members] == [False] * 8


def test_without_the_step_term_a_solved_group_does_not_train():
    one = quick_and_slow(1.0)
    credited([one], CreditSpec())
    assert [member.trained for member in one.members] == [False] * 8
