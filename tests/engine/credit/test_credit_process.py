"""Turn rewards to credit, by hand."""

from __future__ import annotations

import math

import pytest

from jobs.engine.credit.process import information_gain, process_credit, returns_to_go
from jobs.engine.types import StopReason
from tests.engine.credit import rollouts


def rollout(uid, *outputs, reward=1.0, **more):
    """One turn a tool output, and the answer."""
    return rollouts.rollout(uid, reward, *[("{}", output) for output in outputs], "answer", **more)


def test_returns_to_go_are_discounted_and_skip_the_unscored():
    assert returns_to_go([1.0, None, 2.0], 0.5) == [1.5, 1.0, 2.0]
    assert returns_to_go([1.0, math.nan, 2.0], 1.0) == [3.0, 2.0, 2.0]
    assert returns_to_go([], 0.5) == []


def test_siblings_in_the_same_state_are_the_baseline():
    members = [rollout("a", "hit"), rollout("b", "hit")]
    result = process_credit(members, {"a": [0.5, 1.0], "b": [0.5, 0.0]})
    # Returns 1.5, 1 and .5, 0: each state has its own mean.
    assert result == {"a": [0.5, 0.5], "b": [-0.5, -0.5]}


def test_turn_index_centring_would_punish_going_on_and_this_does_not():
    members = [rollout("stops"), rollout("best", "x"), rollout("good", "y")]
    rewards = {"stops": [0.0], "best": [0.0, 1.0], "good": [0.0, 0.8]}
    by_turn_index = 0.8 - (1.0 + 0.8) / 2
    assert by_turn_index < 0
    result = process_credit(members, rewards)
    # Unshared, so against the group's five returns 0, 1, 1, .8, .8: mean .72.
    assert result["good"] == pytest.approx([0.2, 0.08])
    assert result["best"] == pytest.approx([0.4, 0.28])
    assert result["stops"] == pytest.approx([-0.6])


def test_an_unscored_turn_gets_nothing_and_is_in_no_mean():
    members = [rollout("a", "hit"), rollout("b", "hit"), rollout("c", "hit")]
    rewards = {"a": [None, 1.0], "b": [None, 0.0], "c": [None, None]}
    result = process_credit(members, rewards)
    assert result == {"a": [0.0, 0.5], "b": [0.0, -0.5], "c": [0.0, 0.0]}


def test_a_state_scored_in_one_trajectory_alone_falls_back_to_the_group():
    members = [rollout("a", "hit"), rollout("b", "hit")]
    result = process_credit(members, {"a": [0.0, 1.0], "b": [0.4, None]}, complete=False)
    # Turn 0: 1 and .4, mean .7. a's answer: against 1, 1, .4, mean .8.
    assert result["a"] == pytest.approx([0.3, 0.2])
    assert result["b"] == pytest.approx([-0.3, 0.0])


def test_what_led_to_a_lost_score_is_not_known():
    members = [rollout("a", "one", "two"), rollout("b", "three", "four")]
    result = process_credit(members, {"a": [0.5, 0.5, 0.8], "b": [0.5, 0.5, None]})
    # Of a alone: 1.8, 1.3 and .8, mean 1.3.
    assert result["a"] == pytest.approx([0.5, 0.0, -0.5])
    assert result["b"] == [0.0, 0.0, 0.0]


def test_what_came_after_a_lost_score_counts():
    members = [rollout("a", "one"), rollout("b", "two")]
    result = process_credit(members, {"a": [None, 0.9], "b": [None, 0.5]})
    assert result["a"] == pytest.approx([0.0, 0.2])


@pytest.mark.parametrize("rewards", [{}, {"a": [None, None], "b": [None]}])
def test_without_any_score_all_is_zero(rewards):
    result = process_credit([rollout("a", "hit"), rollout("b")], rewards)
    assert result == {"a": [0.0, 0.0], "b": [0.0]}


def test_groups_do_not_mix():
    members = [rollout("a", "hit"), rollout("b", "hit")]
    rewards = {"a": [0.5, 1.0], "b": [0.5, 0.0], "z": [9.0, 9.0]}
    result = process_credit([*members, rollout("z", "hit", group="h")], rewards)
    assert result.pop("z") == [4.5, -4.5]
    assert result == process_credit(members, rewards)


@pytest.mark.parametrize("garbage", [1e9, math.nan, None])
def test_an_ungraded_trajectory_changes_nothing(garbage):
    members = [rollout("a", "hit"), rollout("b", "hit")]
    rewards = {"a": [0.5, 1.0], "b": [0.5, 0.0], "x": [1e9, 1e9]}
    broken = rollout("x", "hit", stop=StopReason.GRADER_FAULT, reward=garbage)
    assert process_credit([*members, broken], rewards) == process_credit(members, rewards)


def test_rewards_that_do_not_fit_the_turns_are_refused():
    with pytest.raises(ValueError, match="a: 1 rewards for 2 turns"):
        process_credit([rollout("a", "hit")], {"a": [1.0]})


def test_information_gain_is_the_rise_of_the_gold_answers_likelihood():
    half, quarter = math.log(0.5), math.log(0.25)
    # Geometric means per token: .25, then sqrt(.5 * .125) = .25, then .5.
    entries = [[quarter, quarter], [half, math.log(0.125)], [half, half]]
    assert information_gain(entries) == pytest.approx([0.0, 0.25])
    assert information_gain([]) == []
    with pytest.raises(ValueError, match="no tokens"):
        information_gain([[half], []])
