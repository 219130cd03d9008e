"""Stored metrics as flat rows of numbers: what every tracker gets."""

from __future__ import annotations

import pytest

from jobs.exports.flatten import flattened


def test_groups_become_paths_and_truth_values_become_numbers() -> None:
    metrics = {
        "train": {"reward_mean": 0.5, "n": 16, "stops": {"final_answer": 14}},
        "learning": {"updated": True},
    }
    assert flattened(metrics) == {
        "learning/updated": 1.0,
        "train/n": 16.0,
        "train/reward_mean": 0.5,
        "train/stops/final_answer": 14.0,
    }


def test_what_is_no_number_is_left_out_and_never_zero() -> None:
    metrics = {
        "train": {"reward_mean": None, "entropy": float("nan"), "loss": float("inf")},
        "credit": {"reason": "too few turns"},
        "empty": {},
        "list": [1, 2],
    }
    assert flattened(metrics) == {}


def test_sentences_are_no_names_of_metrics() -> None:
    assert flattened({"train": {"ungraded_causes": {"tool x: 502 four times": 3}}}) == {}


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("lookup_order", "lookup_order"),
        ("(unknown)", "_x28_unknown_x29_"),
        ("a/b", "a_x2f_b"),
        ("..", "_x2e_."),
        ("é", "_xe9_"),
        ("", "_x_"),
    ],
)
def test_every_key_becomes_a_name_that_all_libraries_take(key: str, name: str) -> None:
    assert flattened({"tools": {key: 1}}) == {f"tools/{name}": 1.0}


def test_the_order_is_that_of_the_names() -> None:
    assert list(flattened({"b": 1, "a": {"z": 1, "y": 2}})) == ["a/y", "a/z", "b"]
