"""Figures kept as sums: what is read from them is what the values themselves give."""

from __future__ import annotations

import math

import pytest

from jobs.engine.insight.sums import (
    added,
    cluster_sums,
    clustered_mean,
    correlation,
    deviation_of,
    mean_of,
    pair_sums,
    sketch,
    sketched_percentile,
)


def test_numbers_of_the_same_name_are_added_at_any_depth():
    first = {"n": 1, "deep": {"a": 2, "b": 1.5}, "text": "x", "flag": True}
    assert added([first, {"n": 3, "deep": {"a": 4}}, {}]) == {"n": 4, "deep": {"a": 6, "b": 1.5}}


def test_a_percentile_of_two_steps_comes_from_the_sum_of_their_sketches():
    both = added([sketch([0.1] * 9), sketch([5.0])])
    assert sketched_percentile(both, 50) == pytest.approx(0.1, rel=0.09)
    assert sketched_percentile(both, 100) == pytest.approx(5.0, rel=0.09)
    assert sketched_percentile(sketch([0.0]), 95) == 0.0
    assert sketched_percentile({}, 50) is None


def test_mean_spread_and_correlation_are_those_of_the_pairs():
    sums = added([pair_sums([(0.0, 1.0), (1.0, 3.0)]), pair_sums([(2.0, 5.0)])])
    assert (mean_of(sums), mean_of(sums, "y")) == (1.0, 3.0)
    assert deviation_of(sums) == pytest.approx(math.sqrt(2 / 3))
    assert correlation(sums) == pytest.approx(1.0)
    assert correlation(pair_sums([(0.0, 1.0), (1.0, 0.0), (0.0, 0.0), (1.0, 1.0)])) == 0.0


def test_what_never_varies_has_no_correlation():
    assert correlation(pair_sums([(1.0, 0.0), (1.0, 1.0), (1.0, 0.5)])) is None
    assert correlation(pair_sums([(0.0, 0.0), (1.0, 1.0)])) is None


def test_sums_that_a_database_could_not_keep_give_no_figure():
    sums = {"n": 3, "x": 1.0}
    assert (mean_of(sums), mean_of(sums, "y")) == (pytest.approx(1 / 3), None)
    assert (deviation_of(sums), correlation(sums)) == (None, None)


def test_the_interval_of_a_mean_knows_that_clusters_hang_together():
    # Three clusters of equal values: the spread is that between 0, 1 and 2, however many each has.
    sums = cluster_sums([[0.0] * 4, [1.0] * 4, [2.0] * 4, []])
    mean, half = clustered_mean(sums)
    assert mean == 1.0
    assert half == pytest.approx(4.3027 * math.sqrt(1 / 3))
    assert clustered_mean(cluster_sums([[1.0], [3.0]])) == (2.0, None)
    assert clustered_mean(cluster_sums([])) == (None, None)
