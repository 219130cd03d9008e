"""Buckets of steps: the arithmetic by hand, and that they grow with each committed step."""

from __future__ import annotations

import pytest

from jobs.models import Run, StepBucket
from jobs.selectors.rollup import (
    bucket_rows,
    bucket_size,
    buckets_of,
    cells,
    fold,
    step_figures,
    stored_size,
)
from jobs.services.rollup import rollup_steps
from jobs.supervisor.supervise import supervise


def test_a_steps_metrics_become_flat_numbers() -> None:
    metrics = {
        "train": {
            "reward_mean": 0.5,
            "parts": {"format": 1},
            "stops": {"final_answer": 3, "tool_loop": 1},
            "tools": {"refund": {"calls": 9, "errors": 2, "faults": 1, "seconds_mean": None}},
            "ungraded_causes": {"tool refund: 502": 1, "tool refund: timeout": 2, "grader: x": 1},
            "reward_sd": None,
        },
        "groups": {"total": 4, "with_signal": 0},
        "learning": {"entropy": float("nan"), "updated": True},
    }
    assert step_figures(metrics) == {
        "train.reward_mean": 0.5,
        "train.parts.format": 1.0,
        "stops.final_answer": 0.75,
        "stops.tool_loop": 0.25,
        "errors.refund": 2.0,
        "faults.refund": 1.0,
        "ungraded.tool refund": 3.0,
        "ungraded.grader": 1.0,
        "groups.total": 4.0,
        "groups.with_signal": 0.0,
        "groups.silent": 1.0,
    }


def test_figures_fold_to_last_low_high_sum_and_n() -> None:
    folded = fold(fold(cells({"a": 2.0}), cells({"a": 9.0, "b": 1.0})), cells({"a": 4.0}))
    assert folded == {"a": [4.0, 2.0, 9.0, 15.0, 3], "b": [1.0, 1.0, 1.0, 1.0, 1]}


def test_small_buckets_make_larger_ones_from_multiples_of_the_size() -> None:
    points = [(first, first + 3, cells({"a": float(first)})) for first in (4, 8, 12, 16)]
    found = buckets_of(points, 8)
    assert [step for step, _ in found] == [7, 15, 19]
    assert [figures["a"][0] for _, figures in found] == [4.0, 12.0, 16.0]


@pytest.mark.parametrize(
    ("steps", "size", "stored"),
    [(400, 1, 1), (401, 2, 1), (1601, 8, 4), (100_000, 256, 256), (102_401, 512, 256)],
)
def test_any_number_of_steps_is_at_most_400_points(steps: int, size: int, stored: int) -> None:
    assert (bucket_size(steps), stored_size(bucket_size(steps))) == (size, stored)


def test_the_newest_validation_reward_of_a_bucket_is_a_column_of_its_own() -> None:
    steps = [(0, {"validation": {"reward_mean": 0.25}}), (1, {}), (2, {}), (3, {}), (4, {})]
    small = [row for row in bucket_rows(steps) if row["size"] == 4]
    found = [(row["first"], row["last"], row["validation_reward"]) for row in small]
    assert found == [(0, 3, 0.25), (4, 4, None)]


@pytest.mark.django_db(transaction=True)
def test_buckets_grow_with_each_step_to_what_a_rebuild_makes(make_job, fake_engine) -> None:
    job = make_job(steps=5)
    run = Run.objects.get(job=job)
    supervise(run.pk)
    rows = StepBucket.objects.filter(run=run).order_by("size", "first")
    grown = list(rows.values_list("size", "first", "last", "validation_reward", "figures"))
    assert [row[:3] for row in grown][:3] == [(4, 0, 3), (4, 4, 5), (16, 0, 5)]
    rollup_steps(run)
    assert list(rows.values_list("size", "first", "last", "validation_reward", "figures")) == grown
