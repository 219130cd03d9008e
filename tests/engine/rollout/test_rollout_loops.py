"""Loop detection: by period, by stale 8-grams, and by repeated calls."""

from __future__ import annotations

import random

import numpy as np
import pytest

from jobs.engine.rollout.loops import TokenLoopDetector, ToolLoopDetector, canonical_arguments


def first_loop(ids, slot=0, slots=1):
    """How many tokens it takes to see the loop, and where its untrained part starts."""
    detector = TokenLoopDetector(slots)
    detector.reset(slot)
    for count, token in enumerate(ids, 1):
        if detector.push(np.array([slot]), np.array([token])).size:
            start = detector.loop_start(slot, ids[:count])
            if start is not None:
                return count, start
    return None


@pytest.mark.parametrize(
    ("period", "seen_at"), [(1, 96), (2, 96), (7, 96), (24, 96), (25, 100), (64, 256)]
)
def test_a_period_is_a_loop_at_four_repeats_and_96_tokens(period, seen_at):
    ids = list(range(period)) * (400 // period + 1)
    assert first_loop(ids) == (seen_at, 2 * period)


def test_a_loop_is_found_behind_other_text():
    lead = list(range(1000, 1050))
    assert first_loop([*lead, *([1, 2, 3] * 60)]) == (50 + 96, 50 + 6)


def test_the_shortest_period_is_the_one_that_counts():
    assert first_loop([5] * 200) == (96, 2)


@pytest.mark.parametrize("period", [65, 100])
def test_longer_periods_are_found_by_their_stale_8_grams(period):
    count, start = first_loop(list(range(period)) * 20)
    assert count == 512
    assert start == 2 * period + 7


def test_text_that_goes_on_is_no_loop():
    chosen = random.Random(1)
    assert first_loop([chosen.randrange(50) for _ in range(3000)]) is None


def test_a_broken_repetition_starts_again():
    assert first_loop(([1, 2, 3] * 30 + [9]) * 5) is None


def test_slots_are_watched_apart():
    detector = TokenLoopDetector(3)
    for slot in (0, 2):
        detector.reset(slot)
    for step in range(96):
        found = detector.push(np.array([0, 2]), np.array([7, step]))
    assert found.tolist() == [0]


def test_a_slot_that_is_reset_has_no_past():
    detector = TokenLoopDetector(1)
    for _ in range(95):
        detector.push(np.array([0]), np.array([7]))
    detector.reset(0)
    assert detector.push(np.array([0]), np.array([7])).size == 0


def test_the_same_call_is_counted_however_its_arguments_are_spelled():
    detector = ToolLoopDetector()
    assert detector.note("f", '{"a": 1, "b": 2}', "r") == 1
    assert detector.note("f", '{"b":2,"a":1}', "r") == 2
    assert detector.note("f", '{"b":2,"a":1}', "other") == 1
    assert detector.note("g", '{"b":2,"a":1}', "r") == 1


def test_arguments_that_are_not_json_are_compared_as_they_are():
    assert canonical_arguments("{oops") == "{oops"
