"""What a run says of a step that taught nothing."""

from __future__ import annotations

import pytest

from jobs.engine.signal_messages import signal_messages
from jobs.engine.types import StopReason


def told(members, silent, *, updated=False, skipped=0):
    metrics = {
        "learning": {"updated": updated, "skipped_non_finite": skipped},
        "groups": {"total": 6, "all_solved": 1, "all_failed": 5, "too_small": 0},
    }
    return signal_messages(members, metrics, silent)


def test_a_step_that_updated_says_nothing(make_trajectory):
    assert told([make_trajectory()], 0, updated=True) == ()


def test_a_step_without_signal_counts_its_groups(make_trajectory):
    (message,) = told([make_trajectory(reward=0.0)], 1)
    assert (message.level, message.code) == ("warn", "no_signal")
    assert message.text == (
        "No learning signal: none of 6 groups had different rewards (1 all solved, 5 all failed, "
        "0 with fewer than two graded rollouts). No update was made."
    )
    assert message.data == {"silent_steps": 1}


@pytest.mark.parametrize(("silent", "count"), [(1, 1), (2, 1), (3, 2), (4, 1), (6, 2)])
def test_every_third_silent_step_is_explained(make_trajectory, silent, count):
    assert len(told([make_trajectory(reward=0.0)], silent)) == count


def test_rewards_that_are_all_zero_are_said_plainly(make_trajectory):
    members = [make_trajectory(reward=0.0) for _ in range(4)]
    members.append(make_trajectory(reward=1.0, stop=StopReason.TOOL_FAULT))
    assert told(members, 3)[1].text == (
        "All 4 rewards of this step are 0.000, so there is nothing to learn from, for 3 steps in "
        "a row: use easier tasks, a stronger base model, or a grader that gives partial credit."
    )


def test_tasks_that_are_all_solved_want_harder_ones(make_trajectory):
    text = told([make_trajectory(reward=1.0)], 3)[1].text
    assert text.endswith("use harder tasks or a stricter grader.")


def test_rewards_that_differ_between_tasks_only_are_said_so(make_trajectory):
    text = told([make_trajectory(reward=1.0), make_trajectory(reward=0.0)], 3)[1].text
    assert text.startswith("The 2 rewards of this step differ between tasks, never within one")


def test_a_step_without_any_graded_rollout_has_no_verdict(make_trajectory):
    assert len(told([make_trajectory(reward=None)], 3)) == 1


def test_a_gradient_that_was_not_finite_is_no_missing_signal(make_trajectory):
    (message,) = told([make_trajectory()], 1, skipped=1)
    assert message.code == "non_finite"
