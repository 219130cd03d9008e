"""Charts and small graphics: exact numbers in, exact geometry out."""

from __future__ import annotations

from typing import Any

import pytest

from jobs.views.charts import Chart, Series, after, thinned
from jobs.views.job_charts import (
    View,
    is_log,
    job_charts,
    parts_chart,
    reward_chart,
    silent_chart,
    stops_chart,
)
from jobs.views.shown_charts import caption, shown_chart
from jobs.views.smoothing import half_life, smoothed
from jobs.views.svg import bounds, picture, sparkline


def _columns(**more: Any) -> dict[str, Any]:
    plain = dict.fromkeys(
        (
            *("train_reward", "validation_reward", "tool_calls_mean", "tool_calls_p95"),
            *("validation_tool_calls_p95", "tokens_mean", "tokens_p95", "tokens_p99"),
            *("validation_tokens_p95", "loop_rate", "validation_loop_rate", "groups_total"),
            *("groups_with_signal", "groups_all_solved", "groups_all_failed", "entropy"),
            "mismatch_kl",
            "ungraded",
        ),
        [None, None, None],
    )
    families = {"stops": {}, "seconds": {}, "parts": {}, "validation_parts": {}}
    return {"step": [0, 1, 2], **plain, **families, **more}


def _line(*values: float | None, **more: Any) -> Chart:
    series = (Series("a", "s1", values, **more),)
    return Chart("k", "Title", "Why?", "reward", tuple(range(len(values))), series, high=1.0)


def test_the_base_models_reward_is_a_level_through_all_steps() -> None:
    chart = reward_chart(
        _columns(validation_reward=[0.25, None, 0.5], train_reward=[None, 0.3, 0.4])
    )
    assert [line.values for line in chart.series] == [
        (0.25, None, 0.5),
        (None, 0.3, 0.4),
        (0.25, 0.25, 0.25),
    ]
    assert (chart.low, chart.high) == (0.0, 1.0)


def test_rewards_outside_zero_to_one_widen_the_axis() -> None:
    chart = reward_chart(_columns(train_reward=[None, -2.0, 4.0]))
    assert (chart.low, chart.high) == (-2.0, 4.0)


def test_every_reason_to_stop_is_in_one_layer_and_layers_add_to_one() -> None:
    stops = {
        "final_answer": [0.5] * 3,
        "turn_limit": [0.1] * 3,
        "context_limit": [0.1] * 3,
        "token_loop": [0.1] * 3,
        "tool_loop": [0.1] * 3,
        "grader_fault": [0.1] * 3,
    }
    chart = stops_chart(_columns(stops=stops))
    layers = {line.label: line.values[0] for line in chart.series}
    assert layers == {
        "final answer": 0.5,
        "a limit": 0.2,
        "loop (tokens)": 0.1,
        "loop (tools)": 0.1,
        "fault": 0.1,
    }


def test_a_job_without_steps_has_charts_without_data() -> None:
    empty = {name: [] if isinstance(found, list) else {} for name, found in _columns().items()}
    assert [chart.has_data for chart in job_charts(empty)] == [False] * 14
    assert caption(job_charts(empty)[0]) == "Reward: no data yet."


def test_groups_without_signal_are_told_apart_as_shares() -> None:
    chart = silent_chart(
        _columns(
            groups_total=[None, 8, 4],
            groups_all_solved=[None, 2, 0],
            groups_all_failed=[None, 1, 3],
        )
    )
    assert [line.values for line in chart.series] == [(None, 0.25, 0.0), (None, 0.125, 0.75)]


def test_smoothing_is_debiased_and_leaves_gaps_and_the_raw_values() -> None:
    # By hand, each step back weighs half: (0 / 2 + 1) / 1.5, then (0 / 4 + 1 / 2 + 1) / 1.75.
    assert smoothed([0, 1, 2], [0.0, 1.0, 1.0], 1) == pytest.approx((0.0, 2 / 3, 6 / 7))
    assert smoothed([0, 1, 2], [None, 0.4, None], 5) == (None, pytest.approx(0.4), None)
    columns = _columns(train_reward=[0.0, 1.0, 1.0])
    train = reward_chart(columns, View(half=1)).series[1]
    assert train.raw == (0.0, 1.0, 1.0)
    assert train.values == pytest.approx((0.0, 2 / 3, 6 / 7))
    assert "train 1.000 at step 2" in caption(reward_chart(columns, View(half=1)))


@pytest.mark.parametrize(
    ("asked", "steps", "half"), [("", 39, 0), ("", 100, 5), ("", 900, 10), ("3", 9, 3), ("x", 9, 0)]
)
def test_smoothing_is_off_for_few_steps_and_as_asked(asked: str, steps: int, half: int) -> None:
    assert half_life(asked, steps) == half


def test_an_axis_counts_in_powers_of_ten_where_values_spread_and_none_is_zero() -> None:
    assert not is_log([1.0, 20.0], None)
    assert is_log([1.0, 21.0], None)
    assert not is_log([0.0, 21.0], True)
    assert not is_log([1.0, 21.0], False)


def test_a_thinned_picture_keeps_the_last_point_and_the_spikes_of_its_band() -> None:
    edges = {"low": (0.0, 0.1, 0.2, 0.3, 0.4), "high": (1.0, 1.1, 9.0, 1.3, 1.4)}
    thin = thinned(_line(0.1, 0.2, 0.3, 0.4, 0.5, **edges), 3)
    assert thin.steps == (0, 2, 4)
    assert thinned(_line(0.1, 0.2, 0.3), 1).series[0].low == ()
    line = thin.series[0]
    assert (line.values, line.low, line.high) == (
        (0.1, 0.3, 0.5),
        (0.0, 0.1, 0.3),
        (1.0, 9.0, 1.4),
    )


def test_what_is_newer_than_a_step_is_cut_off_alike_everywhere() -> None:
    newer = after(_line(0.1, 0.2, 0.3), 0)
    assert (list(newer["steps"]), newer["keep"]) == ([1, 2], 1)
    assert newer["series"][0]["values"] == [0.2, 0.3]
    nothing = after(_line(0.1, 0.2, 0.3), 2)
    assert (list(nothing["steps"]), nothing["keep"]) == ([], 3)


def test_a_line_is_drawn_to_scale_and_breaks_where_nothing_is_known() -> None:
    drawn = picture(_line(0.0, 0.5, None, 1.0))
    assert 'd="M0.0 200.0L333.3 100.0M1000.0 0.0h0"' in drawn
    assert 'class="stroke-s1"' in drawn
    assert "style=" not in drawn


def test_dots_are_drawn_one_by_one() -> None:
    assert 'd="M0.0 100.0h0M1000.0 0.0h0"' in picture(_line(0.5, 1.0, dots=True))


def test_the_band_of_a_line_breaks_with_it_and_a_dot_has_a_whisker() -> None:
    edges = {"low": (0.0, None, 0.5), "high": (1.0, None, 0.5)}
    drawn = picture(_line(0.5, None, 0.5, **edges))
    assert 'd="M0.0 200.0L0.0 0.0ZM1000.0 100.0L1000.0 100.0Z" class="band fill-s1"' in drawn
    drawn = picture(_line(0.5, None, 0.5, dots=True, **edges))
    assert 'd="M0.0 200.0V0.0M1000.0 100.0V100.0" class="whisker stroke-s1"' in drawn


def test_layers_stand_on_each_other() -> None:
    series = (Series("a", "s1", (1.0,)), Series("b", "s2", (3.0,)))
    drawn = picture(Chart("k", "T", "?", "seconds", (0,), series, kind="stack"))
    assert '<rect class="fill-s1" x="0.0" y="150.0" width="998.0" height="50.0"/>' in drawn
    assert '<rect class="fill-s2" x="0.0" y="0.0" width="998.0" height="150.0"/>' in drawn


def test_an_axis_of_one_value_still_has_a_height() -> None:
    flat = Chart("k", "T", "?", "count", (0,), (Series("a", "s1", (0.0,)),))
    assert bounds(flat) == (0.0, 1.0)


def test_a_sparkline_needs_two_points_and_escapes_its_name() -> None:
    assert sparkline([0.5], low=0, high=1, label="x") == ""
    drawn = sparkline([0.0, 1.0], low=0, high=1, label='"><script>')
    assert "<script>" not in drawn
    assert 'd="M0.0 20.0L96.0 0.0"' in drawn


def test_a_caption_says_the_newest_known_value() -> None:
    shown = shown_chart(_line(0.1, 0.25, None))
    assert shown.caption == "Title: a 0.250 at step 1."


@pytest.mark.parametrize("value", [float("0.123456789"), None])
def test_json_numbers_have_six_digits(value: float | None) -> None:
    sent = _line(value).as_json()["series"][0]["values"]
    assert sent == [None if value is None else 0.123457]


def test_a_grader_part_that_is_the_same_as_an_earlier_one_is_dashed_over_it() -> None:
    parts = {"a": [0.1, 0.2, 0.3], "b": [0.5, 0.5, 0.5], "c": [0.1, 0.2, 0.3]}
    chart = parts_chart(_columns(parts=parts))
    assert [(line.label, line.dashed) for line in chart.series] == [
        ("a", False),
        ("b", False),
        ("c", True),
    ]
    assert "c 0.300 at step 2" in shown_chart(chart).caption
