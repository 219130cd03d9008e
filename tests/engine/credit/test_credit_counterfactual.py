"""The change of value by hand, its interval against a published one, and which calls are chosen."""

from __future__ import annotations

import pytest

from jobs.engine.credit.counterfactual import (
    choose_calls,
    compare,
    difference_interval,
    scale_of,
    uncertainty,
)
from jobs.engine.intervals import wilson
from jobs.engine.types import Measured, StopReason
from tests.engine.credit.rollouts import rollout


def test_the_change_is_the_mean_after_minus_the_mean_before():
    credit = compare([0.0, 1.0, 0.0, 0.0], [1.0, 1.0, 0.0, 1.0])
    assert (credit.delta, credit.n, credit.unusable, credit.reason) == (0.5, 8, 0, "")


def test_the_interval_is_newcombes_published_one():
    # Newcombe 1998, table II, example (a): 56 of 70 and 48 of 80, method 10.
    assert difference_interval((48 / 80, 56 / 70), (80, 70), (0, 1)) == pytest.approx(
        (0.0524, 0.3339), abs=5e-5
    )


def test_four_of_four_against_none_of_four_is_not_certain():
    assert wilson(1.0, 4) == pytest.approx((0.5101, 1.0), abs=5e-5)
    assert wilson(0.0, 4) == pytest.approx((0.0, 0.4899), abs=5e-5)
    credit = compare([0.0] * 4, [1.0] * 4)
    assert credit.delta == 1.0
    assert credit.interval == pytest.approx((0.3072, 1.0), abs=5e-5)


def test_equal_rewards_on_both_sides_leave_the_sign_open():
    credit = compare([1.0] * 4, [1.0] * 4)
    assert credit.delta == 0.0
    assert credit.interval == pytest.approx((-0.4899, 0.4899), abs=5e-5)


def test_rewards_between_have_the_interval_of_their_means():
    credit = compare([0.5, 0.5], [0.5, 1.0])
    assert credit.delta == 0.25
    assert credit.interval == pytest.approx((-0.4350, 0.7129), abs=5e-5)


def test_rewards_on_a_wider_scale_have_a_wider_interval():
    credit = compare([-1.0] * 4, [1.0] * 4, (-1.0, 1.0))
    assert credit.delta == 2.0
    assert credit.interval == pytest.approx((0.6144, 2.0), abs=1e-4)


@pytest.mark.parametrize(
    ("rewards", "scale"),
    [([], (0.0, 1.0)), ([0.2, 0.4], (0.0, 1.0)), ([-0.5, 3.0], (-0.5, 3.0))],
)
def test_the_scale_is_the_usual_one_widened_to_what_was_seen(rewards, scale):
    assert scale_of(rewards) == scale


def test_an_unusable_continuation_is_in_no_mean_and_is_told_of():
    credit = compare([0.0, None, 1.0, None], [1.0, 1.0, 1.0, None])
    assert (credit.delta, credit.n, credit.unusable) == (0.5, 5, 3)
    assert credit.reason == "3 of 8 continuations are unusable"
    assert credit.measured == Measured(delta=0.5, n=5, interval=credit.interval, unusable=3)
    assert credit.interval == difference_interval((0.5, 1.0), (2, 3), (0.0, 1.0))


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        ([1.0, None], [1.0, 1.0], "usable are 1 of 2 continuations from before and 2 of 2"),
        ([1.0, 0.0], [None, 1.0], "usable are 2 of 2 continuations from before and 1 of 2"),
        ([1.0] * 2 + [None] * 3, [1.0] * 5, "usable are 2 of 5 continuations from before"),
    ],
)
def test_too_few_usable_continuations_give_no_estimate(before, after, reason):
    credit = compare(before, after)
    assert (credit.delta, credit.interval, credit.measured) == (None, None, None)
    assert credit.reason.startswith(reason)
    assert credit.reason.endswith("at least 2 and half are needed")


CALL = ("{}", "found")


def unsure(uid, reward, *entropies, **more):
    """One call a turn and an answer; each turn has one token, of this entropy."""
    member = rollout(uid, reward, *[CALL] * (len(entropies) - 1), "42", **more)
    member.entropies = list(entropies)
    return member


def test_uncertainty_is_what_the_next_turn_has_more_than_turn_0():
    member = unsure("a", 1.0, 0.5, 2.0, 0.25)
    assert [uncertainty(member, turn) for turn in (0, 1)] == [1.5, -0.25]


def test_the_most_uncertain_calls_are_chosen_within_the_budget():
    members = [unsure("a", 1.0, 0.5, 2.0, 0.1), unsure("b", 0.0, 0.5, 0.75, 3.0)]
    assert choose_calls(members, 3) == [("b", 1), ("a", 0), ("b", 0)]


def test_ties_go_by_turn_and_then_by_rollout():
    members = [unsure(uid, reward, 0.0, 0.0, 0.0) for uid, reward in (("b", 1.0), ("a", 0.0))]
    assert choose_calls(members, 9) == [("b", 0), ("a", 0), ("b", 1), ("a", 1)]


def test_groups_without_signal_and_ungraded_rollouts_are_not_measured():
    members = [
        unsure("same-1", 1.0, 0.0, 9.0, group="same"),
        unsure("same-2", 1.0, 0.0, 9.0, group="same"),
        unsure("none", None, 0.0, 9.0),
        unsure("fault", 1.0, 0.0, 9.0, stop=StopReason.TIME_LIMIT),
        unsure("low", 0.0, 0.0, 1.0),
        unsure("high", 1.0, 0.0, 2.0),
    ]
    assert choose_calls(members, 9) == [("high", 0), ("low", 0)]


def test_a_turn_without_a_call_or_without_a_turn_after_it_is_not_measured():
    talk = rollout("talk", 1.0, "hm", CALL)
    talk.entropies = [0.0, 0.0]
    other = rollout("other", 0.0, CALL)
    other.entropies = [0.0]
    assert choose_calls([talk, other], 9) == []
