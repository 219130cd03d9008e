"""Figures of a preflight, against numbers worked out by hand."""

from __future__ import annotations

import pytest

from jobs.workbench.preflight_figures import Attempt, Share, figures_of, signal_by_size


def attempts(row: int, *rewards: float | None, **more: object) -> list[Attempt]:
    return [Attempt(row, reward, **more) for reward in rewards]  # type: ignore[arg-type]


def test_wilson_is_the_published_interval() -> None:
    assert Share(31, 48).interval == pytest.approx((0.5044, 0.7657), abs=1e-4)
    assert Share(0, 16).interval == pytest.approx((0.0, 0.1936), abs=1e-4)
    assert Share(16, 16).interval == pytest.approx((0.8064, 1.0), abs=1e-4)
    assert Share(0, 0).interval == (0.0, 1.0)


def test_a_task_has_signal_where_two_rewards_differ() -> None:
    found = figures_of(
        [*attempts(0, 1.0, 0.0), *attempts(1, 0.3, 0.3 + 1e-7), *attempts(2, 0.0, None)]
    )
    first, second, third = found.tasks
    assert (first.has_signal, second.has_signal, third.has_signal) == (True, False, False)
    assert not third.is_known
    assert found.signal == Share(1, 2)


def test_rewards_of_a_task_in_numbers() -> None:
    (task,) = figures_of(attempts(4, 1.0, 0.0, 0.5, None), pass_line=0.5).tasks
    assert (task.attempts, task.graded, task.passes, task.best) == (4, 3, 2, 1.0)
    assert task.mean == pytest.approx(0.5)
    assert task.pass_rate == pytest.approx(2 / 3)
    assert task.spread == pytest.approx((1 / 6) ** 0.5)


def test_an_ungraded_attempt_is_in_no_mean() -> None:
    found = figures_of([*attempts(0, 1.0, 1.0, None), *attempts(1, 0.0, None, None)])
    assert (found.attempts, found.graded, found.mean) == (6, 3, pytest.approx(2 / 3))
    assert found.best_of == 0.5
    assert found.passes == Share(2, 3)


def test_tasks_that_always_or_never_pass() -> None:
    found = figures_of([*attempts(0, 1.0, 1.0), *attempts(1, 0.0, 0.1), *attempts(2, 0.6, 0.9)])
    assert found.always == Share(1, 3)
    assert found.never == Share(1, 3)


def test_the_pass_line_is_part_of_a_pass() -> None:
    assert figures_of(attempts(0, 0.8, 0.79), pass_line=0.8).passes == Share(1, 2)


def test_what_ended_attempts_is_counted_apart() -> None:
    found = figures_of(
        [
            *attempts(0, None, stop="tool_fault", cause="tool find: HTTP 500"),
            *attempts(0, None, stop="time_limit", cause="600 s"),
            *attempts(0, None, stop="grader_fault", cause="grader: no answer"),
            *attempts(0, None, cause="grader: division by zero"),
            *attempts(0, None, cause="grader: division by zero"),
            *attempts(0, 0.0, stop="token_limit", flags=frozenset({"looped"})),
            *attempts(0, 0.0, stop="turn_limit", flags=frozenset({"malformed_call"})),
            *attempts(0, 0.0, flags=frozenset({"tool_error"})),
        ]
    )
    assert found.tool_faults == found.out_of_time == Share(1, 8)
    assert found.grader_errors == Share(3, 8)
    assert found.grader_causes == (("grader: division by zero", 2), ("grader: no answer", 1))
    assert found.tool_causes == (("tool find: HTTP 500", 1),)
    assert (found.cut_off, found.out_of_tokens) == (Share(2, 8), Share(1, 8))
    assert found.looped == found.bad_calls == found.tool_errors == Share(1, 8)


def test_tails_leave_out_what_a_fault_ended() -> None:
    quick = [Attempt(0, 1.0, tokens=10 * place, seconds=place) for place in range(1, 102)]
    late = Attempt(0, None, stop="time_limit", tokens=9999, seconds=600.0)
    found = figures_of([*quick, late])
    assert (found.tokens.p50, found.tokens.p95, found.tokens.p99) == (510, 960, 1000)
    assert found.seconds.p99 == 100


def test_tools_are_added_up_over_slices() -> None:
    slices = [
        {"find": {"calls": 2, "errors": 1, "faults": 0, "seconds_mean": 1.0}},
        {
            "find": {"calls": 6, "errors": 0, "faults": 2, "seconds_mean": 2.0},
            "pay": {"calls": 1, "errors": 0, "faults": 0, "seconds_mean": None},
        },
    ]
    find, pay = figures_of([], tools=slices).tools
    assert (find.name, find.calls, find.errors, find.faults) == ("find", 8, 1, 2)
    assert find.seconds_mean == 1.75
    assert pay.seconds_mean is None


def test_of_nothing_nothing_is_known() -> None:
    found = figures_of([])
    assert (found.attempts, found.mean, found.best_of, found.spread) == (0, None, None, None)
    assert found.signal.interval == (0.0, 1.0)
    assert not found.all_equal


def test_larger_groups_differ_more_often() -> None:
    found = figures_of([*attempts(0, 1.0, 0.0, 0.0), *attempts(1, 0.2, 0.2, 0.5)])
    (four, small, beyond), (eight, large, further) = signal_by_size(found.tasks, (2, 8))
    ones, thirds = 1.5 / 4, (2 / 3) ** 2 + (1 / 3) ** 2
    assert (four, beyond) == (2, False)
    assert small == pytest.approx((1 - ones**2 - (1 - ones) ** 2 + 1 - thirds) / 2)
    assert (eight, further) == (8, True)
    assert large > small
    assert signal_by_size(()) == ()
