"""Length pressure, by hand."""

from __future__ import annotations

import pytest

from jobs.engine.credit.shaping import shaped_rewards


def shaped(rewards, tokens, calls, **options):
    defaults = {
        "reasoning_weight": 0.2,
        "call_weight": 0.1,
        "call_budget": 4,
        "token_scale": 1000.0,
    }
    return shaped_rewards(rewards, tokens, calls, **{**defaults, **options})


def test_each_term_is_scaled_by_the_pass_rate():
    # Pass rate .5. First: .2 * .5; second: .1 * 2 / 4.
    assert shaped([1.0, 0.0], [500, 0], [4, 6]) == pytest.approx([0.95, -0.025])


def test_each_term_is_capped_at_its_weight():
    assert shaped([1.0, 1.0], [10**9, 0], [0, 10**6]) == pytest.approx([0.8, 0.9])


def test_an_all_failed_group_is_unchanged():
    assert shaped([0.0, -1.0], [900, 5], [9, 1]) == [0.0, -1.0]


def test_rewards_outside_zero_to_one_count_as_their_nearest_in_the_pass_rate():
    assert shaped([3.0, -5.0], [1000, 1000], [0, 0]) == pytest.approx([2.9, -5.1])


def test_within_both_limits_of_zero_nothing_is_taken():
    assert shaped([1.0, 0.5], [0, 0], [4, 0]) == [1.0, 0.5]
    assert shaped([], [], []) == []


@pytest.mark.parametrize("options", [{"call_budget": 0}, {"token_scale": 0.0}])
def test_a_scale_of_nothing_is_refused(options):
    with pytest.raises(ValueError, match="positive"):
        shaped([1.0], [1], [1], **options)
