"""How many threads a run takes."""

from __future__ import annotations

import pytest

from jobs.engine.threads import available_cores, thread_count


@pytest.mark.parametrize(
    ("parameters", "deterministic", "environment", "threads"),
    [
        (1_000_000, False, {}, 1),
        (9_999_999, False, {}, 1),
        (10_000_000, False, {}, 8),
        (1_000_000, False, {"OMP_NUM_THREADS": "3"}, 3),
        (600_000_000, False, {"OMP_NUM_THREADS": "1"}, 1),
        (600_000_000, False, {"OMP_NUM_THREADS": "many"}, 8),
        (600_000_000, False, {"OMP_NUM_THREADS": "0"}, 8),
        (600_000_000, True, {"OMP_NUM_THREADS": "4"}, 1),
    ],
)
def test_small_models_and_deterministic_runs_get_one_thread(
    parameters, deterministic, environment, threads
):
    found = thread_count(parameters, deterministic=deterministic, cores=8, environment=environment)
    assert found == threads


def test_this_machine_has_a_core():
    assert available_cores() >= 1
