"""Advantages and group signals, by hand."""

from __future__ import annotations

import math

import pytest

from jobs.engine.credit.groups import Group, Signal, assign_credit, group_signal, training_rewards
from jobs.engine.credit.registry import ESTIMATORS, estimator_named
from jobs.engine.errors import RunFailed
from jobs.engine.types import StopReason, Trajectory


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
    counts = assign_credit(
        [group], training_rewards([group], shuffle_seed=None), estimator_named(estimator)
    )
    return members, counts


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mean_centred", [0.5, -0.5, 0.25, -0.25]),
        ("rloo", [2 / 3, -2 / 3, 1 / 3, -1 / 3]),
        # Sample variance: (0.25 + 0.25 + 0.0625 + 0.0625) / 3.
        (
            "group_std",
            [value / (math.sqrt(0.625 / 3) + 1e-6) for value in (0.5, -0.5, 0.25, -0.25)],
        ),
    ],
)
def test_each_estimator_gives_the_advantages_computed_by_hand(name, expected):
    assert ESTIMATORS[name]([1.0, 0.0, 0.75, 0.25]) == pytest.approx(expected, abs=1e-12)


def test_an_unknown_estimator_is_named_together_with_the_known_ones():
    with pytest.raises(RunFailed, match="“median”.*group_std, mean_centred, rloo"):
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
