"""Advantages and group signals, by hand."""

from __future__ import annotations

import math

import pytest

from jobs.engine.credit.assign import assign_credit
from jobs.engine.credit.groups import Group, Signal, group_signal, training_rewards
from jobs.engine.credit.registry import ESTIMATORS, estimator_named
from jobs.engine.errors import RunFailed
from jobs.engine.spec import CreditSpec
from jobs.engine.types import StopReason, Trajectory
from jobs.services import options


def member(uid, reward, stop=StopReason.FINAL_ANSWER):
    return Trajectory(
        uid=uid,
        row=0,
        group="0",
        sample=0,
        split="train",
        trace_id="trace_0",
        ids=[1, 2],
        logprobs=[0.0, -1.0],
        entropies=[0.0, 1.0],
        kinds=[0, 1],
        reward=reward,
        stop=stop,
    )


def credited(rewards, estimator="mean_centred", **faults):
    members = tuple(
        member(f"m{i}", r, faults.get(f"m{i}", StopReason.FINAL_ANSWER))
        for i, r in enumerate(rewards)
    )
    group = Group("0", members)
    rewards = training_rewards([group], shuffle_seed=None)
    return members, assign_credit([group], rewards, CreditSpec(advantage=estimator)).counts


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mean_centred", [0.5, -0.5, 0.25, -0.25]),
        ("maxrl", [1.0, -1.0, 0.5, -0.5]),
        ("rloo", [2 / 3, -2 / 3, 1 / 3, -1 / 3]),
        # Sample variance: (0.25 + 0.25 + 0.0625 + 0.0625) / 3.
        (
            "group_std",
            [value / (math.sqrt(0.625 / 3) + 1e-6) for value in (0.5, -0.5, 0.25, -0.25)],
        ),
    ],
)
def test_each_estimator_gives_the_advantages_computed_by_hand(name, expected):
    found = ESTIMATORS[name]([[1.0, 0.0, 0.75, 0.25]], [[1, 2, 3, 4]])
    assert found == [pytest.approx(expected, abs=1e-12)]


def test_maxrl_teaches_nothing_where_the_mean_is_not_above_zero():
    assert ESTIMATORS["maxrl"]([[-1.0, 1.0], [0.0, -1.0]], [[1, 1], [1, 1]]) == [[0, 0], [0, 0]]


def test_maxrl_divides_by_no_less_than_one_success_of_the_group():
    (found,) = ESTIMATORS["maxrl"]([[4e-9, 0.0, 0.0, 0.0]], [[1, 1, 1, 1]])
    assert found == pytest.approx([1.2e-8, -4e-9, -4e-9, -4e-9], rel=1e-12)
    # Both signs: the mean is 0.05, and the divisor 0.5.
    assert ESTIMATORS["maxrl"]([[1.0, -0.9]], [[1, 1]]) == [pytest.approx([1.9, -1.9])]


@pytest.mark.parametrize("size", range(2, 65))
def test_maxrl_divides_a_lone_success_by_its_pass_rate_itself(size):
    (found,) = ESTIMATORS["maxrl"]([[1.0] + [0.0] * (size - 1)], [[1] * size])
    assert found == pytest.approx([size - 1.0] + [-1.0] * (size - 1), rel=1e-12)


@pytest.mark.parametrize("name", sorted(set(ESTIMATORS) - {"reinforce_pp_baseline"}))
def test_a_group_local_estimator_sees_neither_other_groups_nor_lengths(name):
    alone = ESTIMATORS[name]([[1.0, 0.0]], [[1, 1]])
    assert ESTIMATORS[name]([[1.0, 0.0], [0.5, 0.25]], [[5, 1], [1, 9]])[0] == alone[0]


def test_reinforce_pp_baseline_whitens_over_the_tokens_of_the_batch():
    # Centred: 0.5, -0.5 and 1, -1. By tokens: mean (1.5 - 0.5 + 3 - 1) / 8 = 3/8, mean square
    # (0.75 + 0.25 + 3 + 1) / 8 = 5/8, so the variance is 5/8 - 9/64 = 31/64.
    found = ESTIMATORS["reinforce_pp_baseline"]([[1.0, 0.0], [2.0, 0.0]], [[3, 1], [3, 1]])
    spread = math.sqrt(31) / 8 + 1e-8
    assert found == [
        pytest.approx([0.125 / spread, -0.875 / spread], abs=1e-12),
        pytest.approx([0.625 / spread, -1.375 / spread], abs=1e-12),
    ]


def test_reinforce_pp_baseline_gives_nothing_to_a_member_without_tokens():
    estimate = ESTIMATORS["reinforce_pp_baseline"]
    assert estimate([[1.0, 0.0, 0.5]], [[2, 2, 0]]) == [
        pytest.approx([1.0, -1.0, 0.0], abs=1e-7),
    ]
    assert estimate([[1.0, 0.0]], [[0, 0]]) == [[0.0, 0.0]]


@pytest.mark.parametrize("name", sorted(ESTIMATORS))
def test_no_groups_with_signal_are_no_advantages(name):
    assert ESTIMATORS[name]([], []) == []


def test_groups_without_signal_take_no_part_in_the_batch():
    rewards = {"0": [1.0, 0.0], "1": [1.0, 1.0], "2": [9.0]}
    groups = [
        Group(group, tuple(member(f"{group}-{i}", reward) for i, reward in enumerate(own)))
        for group, own in rewards.items()
    ]
    groups[0].members[0].kinds = [1, 1, 1, 2, 1]
    train = training_rewards(groups, shuffle_seed=None)
    counts = assign_credit(groups, train, CreditSpec(advantage="reinforce_pp_baseline")).counts
    # Three trained tokens to one: the mean is 1/4 and the variance 3/16.
    spread = math.sqrt(3) / 4 + 1e-8
    taught = [m.advantage for m in groups[0].members]
    assert taught == pytest.approx([0.25 / spread, -0.75 / spread], abs=1e-12)
    assert [m.trained for group in groups[1:] for m in group.members] == [False] * 3
    assert [m.advantage for group in groups[1:] for m in group.members] == [None] * 3
    assert counts[Signal.ALL_SOLVED] == counts[Signal.TOO_SMALL] == 1


def test_the_engine_knows_exactly_the_estimators_that_may_be_chosen():
    assert sorted(ESTIMATORS) == sorted(options.ADVANTAGES)


def test_an_unknown_estimator_is_named_together_with_the_known_ones():
    with pytest.raises(
        RunFailed, match="“median”.*group_std, maxrl, mean_centred, reinforce_pp_baseline, rloo"
    ):
        estimator_named("median")


@pytest.mark.parametrize("garbage", [1e9, math.nan, None])
def test_an_ungraded_member_is_in_no_mean_and_is_not_trained(garbage):
    members, counts = credited([1.0, 0.0, garbage], m2=StopReason.TOOL_FAULT)
    assert [m.advantage for m in members] == [0.5, -0.5, None]
    assert [m.trained for m in members] == [True, True, False]
    assert counts[Signal.WITH_SIGNAL] == 1


def test_a_member_with_a_reward_that_is_not_a_number_is_left_out_without_a_fault():
    members, _ = credited([1.0, 0.0, math.inf])
    assert members[2].trained is False


@pytest.mark.parametrize(
    ("rewards", "signal"),
    [
        ([1.0], Signal.TOO_SMALL),
        ([], Signal.TOO_SMALL),
        ([1.0, 1.0], Signal.ALL_SOLVED),
        ([0.0, 0.0], Signal.ALL_FAILED),
        ([0.4, 0.4 + 9e-7], Signal.SAME_REWARD),
        ([0.4, 0.4 + 2e-6], Signal.WITH_SIGNAL),
    ],
)
def test_groups_are_told_apart_by_what_they_can_teach(rewards, signal):
    assert group_signal(rewards) is signal


def test_a_lone_graded_member_has_no_advantage():
    members, counts = credited([1.0, None])
    assert members[0].advantage is None
    assert counts[Signal.TOO_SMALL] == 1


def test_shuffled_rewards_are_a_permutation_and_leave_the_stored_reward_true():
    groups = [
        Group(str(g), tuple(member(f"{g}-{i}", float(10 * g + i)) for i in range(4)))
        for g in range(3)
    ]
    shuffled = training_rewards(groups, shuffle_seed="s")
    true = training_rewards(groups, shuffle_seed=None)
    assert sorted(shuffled.values()) == sorted(true.values())
    assert shuffled != true
    assert shuffled == training_rewards(groups, shuffle_seed="s")
    assert groups[1].members[2].reward == 12.0
