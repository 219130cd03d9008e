"""Numbers of a step, against small batches worked out by hand."""

from __future__ import annotations

import math

import pytest

from jobs.engine.credit.groups import Group, Signal
from jobs.engine.metrics import (
    duplicate_stats,
    group_stats,
    is_looped,
    percentile,
    reward_interval,
    rollout_stats,
)
from jobs.engine.types import StopReason


@pytest.fixture
def batch(make_trajectory, make_call):
    """Rewards 1 and 0 are graded; one rollout lost its tool, one its grader, one its number."""
    search = make_call(seconds=1.0)
    wrong = make_call("read", '{"id": 1}', "no such", status="tool_error", seconds=3.0)
    never_sent = make_call("read", "{", None, status="malformed", seconds=0.0, attempts=0)
    dead = make_call("search", "{}", None, status="fault", seconds=60.0, attempts=3)
    return [
        make_trajectory("a", 1.0, calls=[search], tokens=2, parts={"exact": 1.0, "close": 0.5}),
        make_trajectory(
            "b", 0.0, StopReason.CALL_LIMIT, [wrong, never_sent, search], 6, parts={"exact": 0.0}
        ),
        make_trajectory("c", 77.0, StopReason.TOOL_FAULT, [dead], 900, cause="tool: no answer"),
        make_trajectory("d", 88.0, StopReason.GRADER_FAULT, tokens=900, parts={"exact": 1.0}),
        make_trajectory("e", math.nan, tokens=4, cause="grader: nan"),
    ]


def test_rewards_are_of_graded_rollouts_only(batch):
    stats = rollout_stats(batch, ["read", "search"])
    assert (stats["n"], stats["graded"], stats["ungraded"]) == (5, 2, 3)
    assert (stats["reward_mean"], stats["reward_sd"]) == (0.5, 0.5)
    assert stats["parts"] == {"close": 0.5, "exact": 0.5}
    assert stats["ungraded_causes"] == {"grader: nan": 1, "tool: no answer": 1, "unknown": 1}


def test_calls_and_tokens_are_of_rollouts_that_no_fault_ended(batch):
    stats = rollout_stats(batch, ["read", "search"])
    assert stats["tool_calls_mean"] == pytest.approx(4 / 3)
    assert stats["tool_calls_p95"] == pytest.approx(2.8)
    assert stats["turns_mean"] == pytest.approx(7 / 3)
    assert (stats["tokens_mean"], stats["tokens_p50"]) == (4.0, 4.0)
    assert stats["tokens_p95"] == pytest.approx(5.8)
    assert stats["tokens_p99"] == pytest.approx(5.96)
    assert stats["total_tokens_mean"] == 5.0
    assert stats["loop_rate"] == 0.0


def test_calls_and_latencies_have_a_middle_and_an_end(batch):
    stats = rollout_stats(batch, ["read", "search"])
    assert (stats["tool_calls_p50"], stats["tool_calls_max"]) == (1, 3)
    assert stats["tool_seconds_p99"] == pytest.approx(2.96)


def test_the_interval_of_a_mean_reward_is_over_tasks(batch, make_trajectory):
    stats = rollout_stats(batch[:1], ["read"])
    assert (stats["reward_low"], stats["reward_high"]) == (None, None)
    same = [make_trajectory(str(n), 0.25) for n in range(4)]
    for number, member in enumerate(same):
        member.row = number
    assert reward_interval(same) == {"reward_low": 0.25, "reward_high": 0.25}
    same[0].reward = 1.0
    found = reward_interval(same)
    assert found == reward_interval(same)
    assert (found["reward_low"], found["reward_high"]) == (0.25, 0.8125)


def test_stops_and_tools_are_of_all_rollouts(batch):
    stats = rollout_stats(batch, ["read", "search"])
    assert stats["stops"] == {
        "call_limit": 1,
        "final_answer": 2,
        "grader_fault": 1,
        "tool_fault": 1,
    }
    assert stats["tools"] == {
        "read": {"calls": 2, "errors": 2, "faults": 0, "seconds_mean": 3.0},
        "search": {"calls": 3, "errors": 0, "faults": 1, "seconds_mean": pytest.approx(62 / 3)},
    }
    # Calls that were sent, in rollouts that no fault ended: 1, 1 and 3 seconds.
    assert stats["tool_seconds_p50"] == 1.0
    assert stats["tool_seconds_p95"] == pytest.approx(2.8)


def test_nothing_to_measure_is_none_and_never_zero():
    stats = rollout_stats([], ["search"])
    for name in ("reward_mean", "reward_sd", "tool_calls_p95", "tokens_mean", "loop_rate"):
        assert stats[name] is None
    assert (stats["n"], stats["stops"], stats["tools"]) == (0, {}, {})


def test_a_batch_lost_to_faults_has_no_mean_reward(make_trajectory):
    stats = rollout_stats([make_trajectory(reward=1.0, stop=StopReason.TOOL_FAULT)], [])
    assert (stats["reward_mean"], stats["loop_rate"], stats["ungraded"]) == (None, None, 1)


@pytest.mark.parametrize(
    ("outputs", "looped"),
    [(["x", "x"], False), (["x", "x", "x"], True), (["x", "y", "x"], False), (["x"] * 4, True)],
)
def test_the_same_call_with_the_same_result_three_times_is_a_loop(
    make_trajectory, make_call, outputs, looped
):
    calls = [make_call(output=output) for output in outputs]
    assert is_looped(make_trajectory(calls=calls)) is looped


def test_names_that_the_model_made_up_count_together(make_trajectory, make_call):
    made_up = [make_call(f"tool{n}", status="malformed", attempts=0) for n in range(50)]
    stats = rollout_stats([make_trajectory(calls=[make_call(), *made_up])], ["search"])
    assert {name: row["calls"] for name, row in stats["tools"].items()} == {
        "(unknown)": 50,
        "search": 1,
    }
    assert stats["tools"]["(unknown)"]["errors"] == 50


def test_the_same_call_spelled_otherwise_is_the_same_call(make_trajectory, make_call):
    spellings = ['{"a": 1, "b": 2}', '{"b":2,"a":1}', '{ "a":1, "b":2 }']
    calls = [make_call(arguments=spelling) for spelling in spellings]
    assert is_looped(make_trajectory(calls=calls))


def test_other_arguments_or_another_tool_are_no_loop(make_trajectory, make_call):
    calls = [make_call(arguments=f'{{"n": {n}}}') for n in range(2)] + [make_call("read")] * 2
    assert not is_looped(make_trajectory(calls=calls))


@pytest.mark.parametrize("stop", list(StopReason))
def test_only_the_two_loop_stops_are_loops_by_themselves(make_trajectory, stop):
    assert is_looped(make_trajectory(stop=stop)) is (stop in {"token_loop", "tool_loop"})


def test_the_loop_rate_is_the_share_of_looped_rollouts(make_trajectory, make_call):
    stops = [StopReason.TOKEN_LOOP, StopReason.TOOL_LOOP, StopReason.FINAL_ANSWER]
    members = [make_trajectory(stop=stop) for stop in stops]
    members.append(make_trajectory(calls=[make_call()] * 3))
    members.append(make_trajectory(stop=StopReason.TOOL_FAULT, calls=[make_call()] * 3))
    assert rollout_stats(members, [])["loop_rate"] == 0.75


@pytest.mark.parametrize(
    ("percent", "expected"), [(0, 1.0), (50, 2.5), (95, 3.85), (99, 3.97), (100, 4.0)]
)
def test_percentiles_are_linear_between_ranks(percent, expected):
    assert percentile([4, 1, 3, 2], percent) == pytest.approx(expected)


def test_groups_are_counted_by_what_they_teach(make_trajectory):
    groups = [Group("0", (make_trajectory(),)), Group("1", (make_trajectory(),), round=1)]
    assert group_stats(groups, {Signal.WITH_SIGNAL: 1, Signal.ALL_FAILED: 1}) == {
        "total": 2,
        "with_signal": 1,
        "all_solved": 0,
        "all_failed": 1,
        "same_reward": 0,
        "too_small": 0,
        "refilled": 1,
    }


def test_a_duplicate_samples_token_by_token_what_a_sibling_did(make_trajectory):
    """Of three equal attempts two are copies; what the world said does not count, nor a fault."""
    same = [make_trajectory(tokens=3) for _ in range(3)]
    other = make_trajectory(tokens=5)
    dead = make_trajectory(stop=StopReason.TOOL_FAULT, tokens=3)
    groups = [Group("0", (*same, other, dead)), Group("1", (make_trajectory(tokens=3),))]
    assert duplicate_stats(groups) == {"total": 5, "copies": 2, "share": 0.4, "group": "0"}
    alone = duplicate_stats([Group("1", (other,))])
    assert alone == {"total": 1, "copies": 0, "share": 0.0, "group": ""}
    assert duplicate_stats([])["share"] is None
