"""Means, differences and rank correlations, against values worked out by hand or in tables."""

from __future__ import annotations

import random

import pytest

from jobs.workbench.measures import (
    mean_of,
    paired_difference,
    quantile,
    ranks,
    share_of,
    spearman,
    spread,
)


def test_equal_values_share_the_mean_of_their_ranks() -> None:
    assert ranks([10, 30, 20, 30]) == [1.0, 3.5, 2.0, 3.5]
    assert ranks([5, 5, 5]) == [2.0, 2.0, 2.0]


def test_spearman_is_one_minus_six_times_the_squares() -> None:
    # Without ties: d = 0, 1, -1, 0, 0, so rho = 1 - 6 * 2 / (5 * 24) = 0.9.
    found = spearman([1, 2, 3, 4, 5], [10, 30, 20, 40, 50])
    assert found is not None
    assert found.value == pytest.approx(0.9)
    # Bonett and Wright: sqrt((1 + 0.81 / 2) / 2) = 0.8382; atanh(0.9) = 1.4722, minus 1.6428.
    assert found.low == pytest.approx(-0.1690, abs=1e-3)
    assert found.high == pytest.approx(0.9960, abs=1e-3)


def test_spearman_with_ties_is_the_correlation_of_mean_ranks() -> None:
    found = spearman([0, 0, 1, 1, 1, 0], [0.2, 0.1, 0.9, 0.8, 0.2, 0.2])
    # Ranks 2 2 5 5 5 2 and 3 1 6 5 3 3: 10.5 / sqrt(13.5 * 15.5) = 0.72586.
    assert found is not None
    assert found.value == pytest.approx(0.72586, abs=1e-4)


def test_a_perfect_order_of_few_proves_little() -> None:
    few, many = spearman(range(5), range(5)), spearman(range(100), range(100))
    assert few is not None
    assert many is not None
    assert (few.value, few.high, many.value) == (1.0, 1.0, 1.0)
    assert few.low is not None
    assert many.low is not None
    assert few.low < 0.2 < 0.99 < many.low


@pytest.mark.parametrize(
    ("first", "second"),
    [([1, 2, 3, 4], [1, 2, 3, 4]), ([1] * 9, list(range(9))), (list(range(9)), [0.5] * 9)],
)
def test_there_is_no_rank_correlation_of_few_or_of_a_constant(
    first: list[float], second: list[float]
) -> None:
    assert spearman(first, second) is None


def test_the_interval_of_a_rank_correlation_holds_the_truth_as_often_as_it_says() -> None:
    # With a shared part, Pearson's rho is 0.5; Spearman's of normals is 6 / pi * asin(rho / 2).
    truth, held, tries = 0.4826, 0, 400
    source = random.Random(7)
    for _ in range(tries):
        shared = [source.gauss(0, 1) for _ in range(40)]
        first = [each + source.gauss(0, 1) for each in shared]
        second = [each + source.gauss(0, 1) for each in shared]
        found = spearman(first, second)
        assert found is not None
        assert found.low is not None
        assert found.high is not None
        held += found.low <= truth <= found.high
    assert 0.92 <= held / tries <= 0.98


def test_the_mean_difference_is_of_pairs() -> None:
    found = paired_difference([0.0, 0.5, 1.0, 0.2], [0.1, 0.7, 1.1, 0.6])
    assert found is not None
    assert (found.value, found.n) == (pytest.approx(0.2), 4)
    # sd of 0.1, 0.2, 0.1, 0.4 is 0.141421; times t of 3 (3.1824) over 2.
    assert found.low == pytest.approx(0.2 - 0.2250, abs=2e-3)
    assert paired_difference([], []) is None
    assert paired_difference([0.0] * 3, [1.0] * 3).low is None  # type: ignore[union-attr]


def test_a_mean_of_equal_scores_still_has_a_width() -> None:
    found = mean_of([1.0] * 10)
    assert found is not None
    assert (found.value, found.high) == (1.0, 1.0)
    # Wilson for 10 of 10: 10 / (10 + 3.8416) = 0.7225.
    assert found.low == pytest.approx(0.7225, abs=1e-3)
    wide = mean_of([0.0, 5.0])
    assert wide is not None
    assert (wide.value, wide.low is not None and wide.low >= 0) == (2.5, True)
    assert mean_of([]) is None


def test_a_share_has_wilson_s_interval() -> None:
    found = share_of(37, 256)
    assert found is not None
    assert found.value == pytest.approx(0.1445, abs=1e-4)
    assert (found.low, found.high) == (
        pytest.approx(0.1067, abs=1e-3),
        pytest.approx(0.1928, abs=1e-3),
    )
    assert share_of(0, 0) is None


def test_quantiles_and_spreads() -> None:
    assert [quantile([4, 1, 3, 2], share) for share in (0, 0.5, 1)] == [1, 2.5, 4]
    assert quantile([], 0.5) is None
    assert spread([0.5]) == 0.0
    assert spread([0.0, 1.0]) == pytest.approx(0.7071, abs=1e-4)
