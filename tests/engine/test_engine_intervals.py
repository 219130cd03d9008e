"""Student's t against the printed tables."""

from __future__ import annotations

import pytest

from jobs.engine.intervals import student

TABLE = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 7: 2.365, 10: 2.228, 30: 2.042}


@pytest.mark.parametrize("freedom", TABLE)
def test_the_point_is_that_of_the_tables(freedom: int) -> None:
    assert student(freedom) == pytest.approx(TABLE[freedom], abs=2e-3)


def test_many_values_are_as_the_normal_distribution() -> None:
    assert student(100_000) == pytest.approx(1.95999, abs=5e-5)
