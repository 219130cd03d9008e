"""Step credit at shared states, by hand."""

from __future__ import annotations

import math
import random

import pytest

from jobs.engine.credit.anchored import (
    MEMORY,
    MIN_EVIDENCE,
    StepCredit,
    anchored_credit,
    state_key,
    surprise,
    variance_explained,
)
from jobs.engine.types import StopReason
from tests.engine.credit.rollouts import rollout


def credit(*members, **options):
    return anchored_credit(members, {m.uid: m.reward for m in members}, **options)


def advantages(result, uid):
    return [step.advantage for step in result.steps[uid]]


A = rollout("a", 1.0, ('{"q":1}', "hit"), "yes")
B = rollout("b", 0.0, ('{"q":2}', "  hit\n"), "no")
C = rollout("c", 1.0, ('{"q":1}', "miss"), ('{"q":3}', "odd"), "yes")


def test_the_step_advantage_is_the_return_less_the_mean_of_the_shared_state():
    result = credit(A, B, C)
    # Turn 0: returns .95, 0, .95^2 = .9025; mean 1.8525 / 3 = .6175. "hit": 1 and 0.
    assert advantages(result, "a") == pytest.approx([0.3325, 0.5])
    assert advantages(result, "b") == pytest.approx([-0.6175, -0.5])
    # What only c saw has no sibling.
    assert advantages(result, "c") == pytest.approx([0.285, 0.0, 0.0])
    assert result.steps["c"][1] == StepCredit(0.0, 0, None)


def test_the_interval_is_the_anchors_around_the_advantage():
    step = credit(A, B, C).steps["a"][1]
    # t of one degree of freedom: two values say very little.
    half = 12.7062 * math.sqrt(0.5) / math.sqrt(2)
    assert step.n == 2
    assert step.interval == pytest.approx((0.5 - half, 0.5 + half))


def test_a_long_observation_does_not_discount_what_came_before_it():
    long = rollout("a", 1.0, ('{"q":1}', "hit " * 9000), "yes")
    assert credit(long, B).steps["a"][0] == credit(A, B).steps["a"][0]


def test_a_state_that_one_trajectory_alone_comes_back_to_is_no_anchor():
    circling = rollout("a", 1.0, ("{}", "loop"), ("{}", "loop"), "yes")
    assert advantages(credit(circling, B), "a")[1:] == [0.0, 0.0]


def test_coming_back_to_a_shared_state_counts_each_time():
    circling = rollout("a", 1.0, ("{}", "loop"), ("{}", "loop"), "yes")
    other = rollout("b", 0.0, ("{}", "loop"), "no")
    result = credit(circling, other)
    # Returns at "loop": .95, 1 and 0; mean .65.
    assert advantages(result, "a")[1:] == pytest.approx([0.3, 0.35])
    assert [step.n for step in result.steps["a"]] == [2, 3, 3]


def test_the_same_state_in_two_groups_is_two_states():
    far = rollout("z", 1.0, ('{"q":1}', "hit"), "yes", group="h")
    result = credit(A, B, far)
    assert result.steps["z"] == [StepCredit(), StepCredit()]
    assert result.steps["a"] == credit(A, B).steps["a"]


@pytest.mark.parametrize("garbage", [1e9, math.nan, None])
def test_an_ungraded_trajectory_changes_nothing(garbage):
    broken = rollout("x", garbage, ('{"q":1}', "hit"), "yes", stop=StopReason.TOOL_FAULT)
    assert credit(A, B, C, broken) == credit(A, B, C)


def test_the_key_is_what_was_just_observed():
    assert state_key(A, 0) == state_key(C, 0) != state_key(rollout("r", 0.0, "x", row=1), 0)
    assert state_key(A, 1) == state_key(B, 1) != state_key(C, 1)
    other_tool = rollout("o", 0.0, ("{}", "hit"), "x")
    other_tool.turns[0].calls[0].name = "g"
    assert state_key(other_tool, 1) != state_key(A, 1)


@pytest.mark.parametrize("move", ["text", ("{}", None)])
def test_nothing_observed_is_no_state(move):
    assert state_key(rollout("a", 0.0, move, "x"), 1) is None


def test_a_failed_call_is_observed_by_its_error():
    failed = rollout("a", 0.0, ("{}", None), "x")
    failed.turns[0].calls[0].error = "boom"
    assert state_key(failed, 1) == state_key(rollout("b", 0.0, ("{}", "boom"), "x"), 1)


def repeated(uid, reward, query, answer):
    return rollout(uid, reward, (query, "hit"), answer)


def test_the_gate_opens_where_actions_explain_the_returns():
    members = [repeated(f"m{i}", float(i % 2), f'{{ "q": {i % 2} }}', str(i % 2)) for i in range(8)]
    coverage = credit(*members, weight=0.5, evidence=1.0).coverage
    assert (coverage.turns, coverage.anchored, coverage.share) == (8, 8, 1.0)
    assert coverage.evidence > 1.0
    assert coverage.explained == pytest.approx(1.0)
    assert coverage.weight == 0.5
    assert "100%" in coverage.reason


def test_the_gate_closes_where_actions_explain_no_more_than_chance():
    members = [repeated(f"m{i}", float(i % 2), f'{{"q":{i // 2}}}', "same") for i in range(4)]
    coverage = credit(*members).coverage
    assert coverage.explained < 0.05
    assert coverage.weight == 0.0
    assert "explain" in coverage.reason


def test_the_gate_closes_where_few_turns_share_a_state():
    members = [rollout(f"m{i}", float(i % 2), ("{}", f"r{i}"), str(i % 2)) for i in range(4)]
    coverage = credit(*members).coverage
    assert (coverage.turns, coverage.anchored, coverage.weight) == (4, 0, 0.0)
    assert "share a state" in coverage.reason


@pytest.mark.parametrize("members", [[], [rollout("a", 1.0, "x"), rollout("b", 0.0, "y")]])
def test_without_later_turns_the_weight_is_zero(members):
    coverage = credit(*members).coverage
    assert (coverage.turns, coverage.share, coverage.weight) == (0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("anchors", "expected"),
    [
        ([[[1.0, 1.0], [0.0, 0.0]]], 1.0),
        # Total 1 over 3, error 1 over 2: 1 - .5 / (1 / 3).
        ([[[1.0, 0.0], [1.0, 0.0]]], -0.5),
        # Total .75 over 3, error .5 over 2.
        ([[[1.0, 0.0], [0.0, 0.0]]], 0.0),
        # Two anchors: total 1 + .75 over 6, error .5 over 4.
        ([[[1.0, 1.0], [0.0, 0.0]], [[1.0, 0.0], [0.0, 0.0]]], 1 - 0.125 / (1.75 / 6)),
        # Each action once: eta squared is 1, and means nothing.
        ([[[1.0], [0.0]]], 0.0),
        ([[[0.3, 0.3], [0.3, 0.3]]], 0.0),
        ([], 0.0),
    ],
)
def test_variance_explained_by_hand(anchors, expected):
    assert variance_explained(anchors) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("before", "open_"), [(0.0, False), (0.6, True), (0.4, True), (0.2, False)]
)
def test_the_gate_goes_by_the_evidence_of_many_steps(before, open_):
    # Both turns of four rollouts part wins from losses, as two deals of three do not.
    members = [repeated(f"m{i}", float(i % 2), f'{{"q": {i % 2}}}', str(i % 2)) for i in range(4)]
    coverage = credit(*members, evidence=before).coverage
    assert coverage.evidence == pytest.approx(0.8 * before + 0.2 * 2, abs=0.1)
    assert (coverage.weight > 0) is open_
    assert ("standard deviations better than chance" in coverage.reason) is not open_


def test_surprise_is_counted_in_standard_deviations_of_chance():
    # Two wins and two losses: 2 of 6 deals part them by action, 4 of 6 leave one unexplained.
    assert surprise([[[1.0, 1.0], [0.0, 0.0]]]) == pytest.approx(2**0.5, abs=0.25)
    assert surprise([[[1.0, 0.0], [1.0, 0.0]]]) == pytest.approx(-(0.5**0.5), abs=0.15)
    assert surprise([[[1.0], [1.0]]]) == surprise([]) == 0.0


def test_actions_that_mean_nothing_open_the_gate_seldom():
    dice, evidence, opened = random.Random(4), 0.0, 0
    for _ in range(400):
        cells = [[[], []] for _ in range(4)]
        for _ in range(64):
            dice.choice(dice.choice(cells)).append(float(dice.random() < 0.5))
        found = surprise([[cell for cell in anchor if cell] for anchor in cells])
        evidence += MEMORY * (found - evidence)
        opened += evidence >= MIN_EVIDENCE
    assert opened <= 40
