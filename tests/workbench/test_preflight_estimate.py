"""What a job would take, against numbers worked out by hand."""

from __future__ import annotations

import pytest

from jobs.workbench.preflight_estimate import Plan, Speed, estimate, speed_of, tuning
from jobs.workbench.preflight_figures import Attempt, Share, figures_of

PLAN = Plan(
    steps=10,
    tasks_a_step=4,
    group_size=8,
    max_refills=2,
    eval_interval=4,
    eval_samples=2,
    train_rows=100,
    validation_rows=5,
)


def test_it_evaluates_the_base_each_interval_and_the_last_step() -> None:
    assert PLAN.evaluations == 4


def test_the_middle_is_sampling_learning_and_evaluations() -> None:
    speed = Speed((0.5,), learner_seconds=0.1)
    found = estimate(PLAN, speed, Share(8, 16))
    assert found is not None
    drawn = 4 * (1 + 0.5 + 0.25)
    sampling = 10 * 8 * drawn * 0.5
    learning = 10 * 8 * drawn * 0.5 * 0.1
    evaluations = 4 * 5 * 2 * 0.5
    assert found.seconds.middle == pytest.approx(sampling + learning + evaluations)
    assert found.rollouts.middle == pytest.approx(10 * 8 * drawn)
    assert found.wasted == pytest.approx(0.5)


def test_the_range_comes_of_the_slices_and_of_the_interval_of_the_signal() -> None:
    speed = Speed((0.4, 0.6), learner_seconds=0.0)
    signal = Share(8, 16)
    found = estimate(PLAN, speed, signal)
    assert found is not None

    def seconds(rate: float, share: float) -> float:
        return rate * (320 * (1 + (1 - share) + (1 - share) ** 2) + 40)

    assert found.seconds.low == pytest.approx(seconds(0.4, signal.high))
    assert found.seconds.middle == pytest.approx(seconds(0.5, 0.5))
    assert found.seconds.high == pytest.approx(seconds(0.6, signal.low))


def test_a_price_of_an_hour_gives_a_cost_and_none_gives_none() -> None:
    speed = Speed((0.5,), learner_seconds=0.0)
    priced = estimate(PLAN, speed, Share(16, 16), hour_price=36.0)
    free = estimate(PLAN, speed, Share(16, 16))
    assert priced is not None
    assert priced.cost is not None
    assert priced.cost.middle == pytest.approx(priced.seconds.middle / 100)
    assert free is not None
    assert free.cost is None


def test_what_was_not_measured_is_said() -> None:
    found = estimate(PLAN, Speed((0.5,)), Share(16, 16))
    assert found is not None
    assert found.seconds.middle == pytest.approx(320 * 0.5 * 1.5 + 40 * 0.5)
    said = " ".join(found.assumptions)
    assert "No update was timed: learning is taken as 50% of sampling." in said
    assert "One slice was timed" in said


@pytest.mark.parametrize(("rates", "signal"), [((), Share(1, 2)), ((0.5,), Share(0, 0))])
def test_of_nothing_there_is_no_estimate(rates: tuple[float, ...], signal: Share) -> None:
    assert estimate(PLAN, Speed(rates), signal) is None


def test_fine_tuning_reads_the_passes_three_times() -> None:
    made = [Attempt(0, 1.0, total_tokens=100), Attempt(0, 0.0, total_tokens=300)] * 5
    speed = Speed((0.5,), learner_token_seconds=0.01)
    found = tuning(PLAN, speed, figures_of(made), hour_price=3600.0)
    assert found is not None
    assert (found.passes, found.tokens, found.seconds) == (5, 500, pytest.approx(15.0))
    assert found.more_passes == 400
    assert found.more_seconds == pytest.approx(100 * 8 * 0.5 + 400 * 100 * 3 * 0.01)
    assert found.cost == pytest.approx(15.0)


def test_without_a_pass_there_is_nothing_to_tune_on() -> None:
    assert tuning(PLAN, Speed((0.5,)), figures_of([Attempt(0, 0.0)])) is None


def test_speed_is_of_full_slices_and_of_the_timed_update() -> None:
    def part(n: int, took: float, **trial: float) -> dict[str, object]:
        return {
            "preflight": {"n": n, "tokens_mean": 20.0},
            "seconds": {"rollout": took, "grading": 0.0},
            "trial": trial,
        }

    timed = {"rollouts": 4, "total_tokens": 200, "seconds": 2.0}
    found = speed_of([part(8, 4.0), part(8, 8.0), part(2, 9.0, **timed)])
    assert found.rollout_seconds == (0.5, 1.0)
    assert found.tokens_per_second == pytest.approx(320 / 12)
    assert (found.learner_seconds, found.learner_token_seconds) == (0.5, 0.01)


def test_an_update_that_had_nothing_to_learn_from_was_not_timed() -> None:
    metrics = {
        "preflight": {"n": 2, "tokens_mean": None},
        "seconds": {"rollout": 1.0, "grading": 0.0},
        "trial": {"rollouts": 0, "tokens": 0, "total_tokens": 0, "seconds": 0.0},
    }
    assert speed_of([metrics]).learner_seconds is None
