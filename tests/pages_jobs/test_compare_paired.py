"""Paired tasks against numbers that were worked out by hand."""

from __future__ import annotations

import pytest

from jobs.selectors.compare.paired import (
    Pair,
    TaskResult,
    paired,
    quadrants,
    sign_test,
    signs,
)


@pytest.mark.parametrize(
    ("better", "worse", "p"),
    [
        # 2 × (1 + 19 + 171 + 969 + 3876 + 11628) of 2^19 splits.
        (14, 5, 33328 / 524288),
        (5, 14, 33328 / 524288),
        (3, 0, 2 / 8),
        (1, 0, 1.0),
        (2, 2, 1.0),
        (0, 0, 1.0),
        (10, 0, 2 / 1024),
    ],
)
def test_the_sign_test_is_exact(better: int, worse: int, p: float) -> None:
    assert sign_test(better, worse) == p


def test_the_sign_test_holds_for_more_tasks_than_a_float_could_count() -> None:
    assert sign_test(2000, 2000) == 1.0
    assert 0 < sign_test(2200, 1800) < 1e-9


def _result(row: int, reward: float | None, calls: float = 1.0) -> TaskResult:
    return TaskResult(row, reward, calls, tokens=10.0, seconds=1.0)


def test_only_tasks_that_are_graded_on_both_sides_are_paired_the_largest_gain_first() -> None:
    before = {1: _result(1, 0.5), 2: _result(2, 0.0), 3: _result(3, None), 4: _result(4, 1.0)}
    after = {1: _result(1, 0.5), 2: _result(2, 1.0, 3.0), 3: _result(3, 1.0), 5: _result(5, 1.0)}
    assert paired(before, after) == [
        Pair(2, 0.0, 1.0, 1.0, 3.0),
        Pair(1, 0.5, 0.5, 1.0, 1.0),
    ]


def test_the_same_change_is_in_the_order_of_the_rows() -> None:
    results = {row: _result(row, 0.5) for row in (9, 3, 7)}
    assert [pair.row for pair in paired(results, results)] == [3, 7, 9]


def test_signs_count_better_worse_and_equal_and_rounding_is_no_change() -> None:
    pairs = [
        Pair(0, 0.2, 0.4, 1, 1),
        Pair(1, 0.2, 0.3, 1, 1),
        Pair(2, 0.5, 0.2, 1, 1),
        Pair(3, 0.1 + 0.2, 0.3, 1, 1),
    ]
    found = signs(pairs)
    # 2 × (1 + 3) of 8 splits.
    assert (found.better, found.worse, found.equal, found.n, found.p) == (2, 1, 1, 4, 1.0)


def test_quadrants_name_both_changes_and_leave_no_task_out() -> None:
    pairs = [
        Pair(0, 0.0, 1.0, 4, 2),
        Pair(1, 0.0, 1.0, 4, 3),
        Pair(2, 1.0, 0.0, 4, 9),
        Pair(3, 1.0, 1.0, 4, 4),
        Pair(4, 1.0, 1.0, 4, 2),
    ]
    counted = quadrants(pairs)
    assert {name: n for name, n in counted.items() if n} == {
        "better-fewer": 2,
        "worse-more": 1,
        "same-same": 1,
        "same-fewer": 1,
    }
    assert len(counted) == 9
