"""What is sent to an endpoint that fails: few retries, and soon only probes."""

from __future__ import annotations

import threading

import pytest

from hone.core.net.retry_budget import (
    FIRST_OPEN_S,
    LONGEST_OPEN_S,
    TRIP_AFTER,
    Refused,
    RetryBudget,
    RetryBudgets,
)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def budget(clock: Clock) -> RetryBudget:
    return RetryBudget(clock=clock)


def trip(budget: RetryBudget) -> None:
    for _ in range(TRIP_AFTER):
        assert budget.admit() is None
        budget.failed()


def test_the_first_call_may_be_retried_three_times(budget: RetryBudget) -> None:
    assert budget.admit() is None
    assert [budget.admit(retry=True) for _ in range(3)] == [None] * 3
    assert budget.admit(retry=True) == Refused("spent", 0.0)


def test_five_calls_pay_for_one_retry(budget: RetryBudget) -> None:
    for _ in range(3):
        budget.admit(retry=True)
    for _ in range(4):
        budget.admit()
    assert budget.admit(retry=True) == Refused("spent", 0.0)
    budget.admit()
    assert budget.admit(retry=True) is None


def test_a_long_healthy_time_saves_up_ten_retries_and_no_more(budget: RetryBudget) -> None:
    for _ in range(1000):
        budget.admit()
        budget.succeeded()
    assert [budget.admit(retry=True) for _ in range(10)] == [None] * 10
    assert budget.admit(retry=True) == Refused("spent", 0.0)


def test_failures_in_a_row_open_the_breaker_and_one_success_between_does_not(
    budget: RetryBudget,
) -> None:
    for _ in range(TRIP_AFTER - 1):
        budget.failed()
    budget.succeeded()
    for _ in range(TRIP_AFTER - 1):
        budget.failed()
    assert not budget.is_open
    budget.failed()
    assert budget.is_open


def test_an_open_breaker_refuses_first_attempts_and_retries_alike(budget: RetryBudget) -> None:
    trip(budget)
    assert budget.admit() == Refused("open", FIRST_OPEN_S)
    assert budget.admit(retry=True) == Refused("open", FIRST_OPEN_S)


def test_one_probe_goes_out_in_each_period_and_the_periods_double(
    budget: RetryBudget, clock: Clock
) -> None:
    trip(budget)
    waits = []
    for _ in range(7):
        refused = budget.admit()
        assert refused is not None
        waits.append(refused.wait_s)
        clock.now += refused.wait_s
        assert budget.admit(retry=True) is None, "the probe"
        budget.failed()
    assert waits == [1.0, 2.0, 4.0, 8.0, 16.0, LONGEST_OPEN_S, LONGEST_OPEN_S]


def test_a_probe_that_succeeds_closes_the_breaker(budget: RetryBudget, clock: Clock) -> None:
    trip(budget)
    clock.now += FIRST_OPEN_S
    assert budget.admit() is None
    budget.succeeded()
    assert not budget.is_open
    assert [budget.admit() for _ in range(20)] == [None] * 20


def test_a_probe_that_never_reports_back_costs_its_period_only(
    budget: RetryBudget, clock: Clock
) -> None:
    trip(budget)
    clock.now += FIRST_OPEN_S
    assert budget.admit() is None
    assert budget.admit() == Refused("open", 2.0)
    clock.now += 2.0
    assert budget.admit() is None


@pytest.mark.parametrize("calls", [40, 200, 2000])
def test_at_an_error_rate_of_one_no_more_than_a_quarter_is_sent_on_top(calls: int) -> None:
    clock, sent = Clock(), 0
    budget = RetryBudget(clock=clock)
    for _ in range(calls):
        for attempt in range(4):
            if budget.admit(retry=attempt > 0) is None:
                sent += 1
                budget.failed()
            clock.now += 0.01
    assert sent <= 1.25 * calls


def test_even_where_all_calls_go_out_before_the_first_fails() -> None:
    budget, calls = RetryBudget(), 200
    sent = sum(budget.admit() is None for _ in range(calls))
    sent += sum(budget.admit(retry=True) is None for _ in range(3 * calls))
    assert sent == calls + 10


def test_threads_never_share_one_retry(budget: RetryBudget) -> None:
    won: list[bool] = []

    def ask() -> None:
        for _ in range(100):
            won.append(budget.admit(retry=True) is None)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(won) == 3


def test_an_endpoint_has_one_budget_and_another_endpoint_its_own() -> None:
    budgets = RetryBudgets()
    trip(budgets.of("http://a.test/"))
    assert budgets.of("http://a.test/").is_open
    assert not budgets.of("http://b.test/").is_open
