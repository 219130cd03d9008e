"""How rewards came about: parts, second grader, errors."""

from __future__ import annotations

import math

import pytest

from jobs.engine.insight.graders import MOST_PARTS, grader_insight
from jobs.engine.insight.sums import correlation, mean_of
from jobs.engine.types import StopReason


def test_parts_are_paired_with_the_reward_and_with_the_second_grader(make_trajectory):
    made = []
    for at, (reward, part, held) in enumerate([(0.0, 0.1, 1.0), (0.5, 0.2, 0.5), (1.0, 0.3, 0.0)]):
        one = make_trajectory(str(at), reward, parts={"exact": part, "form": 1.0})
        one.grading = {"seconds": 0.5, "held_out": {"reward": held}}
        made.append(one)
    found = grader_insight(made)
    exact = found["parts"]["exact"]
    assert mean_of(exact["reward"]) == pytest.approx(0.2)
    assert correlation(exact["reward"]) == pytest.approx(1.0)
    assert correlation(exact["held_out"]) == pytest.approx(-1.0)
    assert correlation(found["parts"]["form"]["reward"]) is None
    assert correlation(found["held_out"]) == pytest.approx(-1.0)
    assert found["suspects"] == [{"uid": "2", "reward": 1.0, "held_out": 0.0}]
    assert sum(found["seconds"].values()) == 3


def test_errors_are_counted_by_kind_and_faults_by_their_own(make_trajectory):
    bad = make_trajectory("a", None, StopReason.GRADER_FAULT)
    bad.grading = {"code": "model_grader_server", "error": "x"}
    gone = make_trajectory("b", None, StopReason.TOOL_FAULT)
    blind = make_trajectory("c", 1.0)
    blind.grading = {"held_out": {"error": "x", "code": "python_grader_runtime"}}
    odd = make_trajectory("d", None)
    found = grader_insight([bad, gone, blind, odd])
    assert found["errors"] == {
        "held_out:python_grader_runtime": 1,
        "model_grader_server": 1,
        "other": 1,
        "tool_fault": 1,
    }
    assert (found["n"], found["graded"]) == (4, 1)


def test_many_parts_stay_bounded(make_trajectory):
    parts = {f"part{at:02}": 1.0 for at in range(MOST_PARTS + 4)}
    found = grader_insight([make_trajectory("a", 1.0, parts=parts)])
    assert (len(found["parts"]), found["parts_rest"]) == (MOST_PARTS, 4)


def test_a_part_that_is_no_number_or_beyond_all_measure_is_in_no_sum(make_trajectory):
    values = (0.5, math.nan, math.inf, 1e300)
    made = [make_trajectory(str(at), 1.0, parts={"p": v}) for at, v in enumerate(values)]
    sums = grader_insight(made)["parts"]["p"]["reward"]
    assert (sums["n"], mean_of(sums)) == (1, 0.5)
