"""numeric_match: numbers as people write them, tolerance, units."""

from __future__ import annotations

from typing import Any

import pytest
from test_kind_contract import KindContract

from graders.kinds.base import GraderSpecError, Grading, Sample
from graders.kinds.numeric_match.numbers import numbers
from graders.kinds.registry import load_grader, validate_spec

SPEC = {"type": "numeric_match", "reference": "{{item.answer}}"}


def graded(answer: str, reference: Any, **keys: Any) -> Grading:
    return load_grader(SPEC | keys).grade(Sample(output_text=answer), {"answer": reference})


class TestNumericMatch(KindContract):
    spec = SPEC
    sample = Sample(output_text="So the total is $1,250.")
    item = {"answer": 1250}
    reward = 1.0

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("absolute_tolerance", -1),
            ("relative_tolerance", "5%"),
            ("take", "middle"),
            ("unit", "quack"),
            ("unit", "$"),
            ("unit_required", True),
            ("unit_required", "yes"),
            ("decimal_mark", ";"),
            ("input", 3),
        ],
    )
    def test_refuses_what_cannot_work(self, key: str, value: Any) -> None:
        with pytest.raises(GraderSpecError) as refusal:
            validate_spec(SPEC | {key: value})
        assert refusal.value.param == key


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("42", [42]),
        ("It is 42.", [42]),
        ("-3.5 and −2", [-3.5, -2]),
        ("10-3 = 7", [10, 3, 7]),
        ("1,234,567.25", [1234567.25]),
        ("1,23 or 1,2345", [1, 23, 1, 2345]),
        (".5", [0.5]),
        ("2e3, 2E-3 and 2 × 10^3, 2x10**3, 2 * 10^{-3}", [2000, 0.002, 2000, 2000, 0.002]),
        ("3/4 of it", [0.75]),
        ("1/0", []),
        ("\\boxed{17}", [17]),
        ("R2D2, v1.5, x3", []),
        ("x=3", [3]),
        ("1e999", []),
        ("9" * 400, []),
        ("NaN, Infinity, none", []),
        ("45%", [45]),
        ("$5", [5]),
    ],
)
def test_numbers_are_found_as_people_write_them(text: str, values: list[float]) -> None:
    assert [number.value for number in numbers(text)] == values


@pytest.mark.parametrize(
    ("answer", "reference", "keys", "reward"),
    [
        ("42", "42.0", {}, 1.0),
        ("42.1", "42", {}, 0.0),
        ("42.1", "42", {"absolute_tolerance": 0.1000001}, 1.0),
        ("42.2", "42", {"absolute_tolerance": 0.1}, 0.0),
        ("43", "42", {"relative_tolerance": 0.05}, 1.0),
        ("40", "42", {"relative_tolerance": 0.04}, 0.0),
        ("44", "42", {"relative_tolerance": 0.01, "absolute_tolerance": 2}, 1.0),
        ("-42", "42", {"relative_tolerance": 0.5}, 0.0),
        ("0.001", "0", {"relative_tolerance": 0.5}, 0.0),
        ("first 1, then 2", "2", {}, 1.0),
        ("first 1, then 2", "1", {"take": "first"}, 1.0),
        ("first 1, then 2", "2", {"take": "only"}, 0.0),
        ("it is 2", "2", {"take": "only"}, 1.0),
        ("none", "2", {}, 0.0),
        ("3,14", "3,14", {"decimal_mark": ","}, 1.0),
        ("1.234,5", "1234,5", {"decimal_mark": ","}, 1.0),
    ],
)
def test_the_reward_is_one_within_the_tolerance(
    answer: str, reference: str, keys: dict[str, Any], reward: float
) -> None:
    assert graded(answer, reference, **keys).reward == reward


@pytest.mark.parametrize(
    ("answer", "reward"),
    [
        ("5 km", 1.0),
        ("5km", 1.0),
        ("5000 m", 1.0),
        ("5,000 metres in total", 1.0),
        ("3.106855961 miles", 1.0),
        ("5", 1.0),
        ("5 in total", 0.0),  # Inches: what fits the wanted unit is read as one.
        ("5 at last", 1.0),
        ("5 steps", 1.0),
        ("5 m", 0.0),
        ("5 kg", 0.0),
        ("5 km in 2 hours", 1.0),
        ("5 km^2", 0.0),
        ("5 m^99999999", 0.0),
    ],
)
def test_a_unit_is_converted_and_another_kind_is_no_answer(answer: str, reward: float) -> None:
    grading = graded(answer, 5, unit="km", relative_tolerance=1e-6)
    assert (grading.reward, grading.error) == (reward, None)


@pytest.mark.parametrize(
    ("unit", "answer", "reference"),
    [
        ("degC", "32 °F", "0"),
        ("m/s", "36 km/h", "10"),
        ("m/s", "36 kilometers per hour", "10 m/s"),
        ("percent", "45%", "45"),
        ("percent", "0.45 dimensionless", "45 %"),
        ("L", "1500 mL", "1.5"),
        ("kWh", "3.6 MJ", "1"),
        ("m^2", "2 hectares", "20000 m²"),
    ],
)
def test_units_of_many_kinds_are_known(unit: str, answer: str, reference: str) -> None:
    assert graded(answer, reference, unit=unit, absolute_tolerance=1e-6).reward == 1.0


def test_among_many_numbers_only_so_many_units_are_read() -> None:
    heavy = "5 kg " * 999
    for take, text in (("first", heavy + "5 km"), ("last", "5 km " + heavy)):
        assert graded(text, 5, unit="km", take=take).reward == 1.0
    assert graded("5 kg " + heavy + "5 km", 5, unit="km", take="first").reward == 0.0
    assert graded("5 km " + heavy + "5 kg", 5, unit="km", take="last").reward == 0.0
    assert graded(heavy + "5 km", 5, unit="km", take="only").reward == 1.0
    assert graded(heavy + "5 km and 6 km", 5, unit="km", take="only").reward == 0.0


def test_a_bare_number_can_be_refused() -> None:
    assert graded("5", "5 km", unit="km", unit_required=True).reward == 0.0
    assert graded("5 km", "5", unit="km", unit_required=True).reward == 1.0


def test_a_reference_without_a_number_is_an_error_and_no_score() -> None:
    grading = graded("5", "five")
    assert grading.reward is None
    assert grading.error is not None
    assert grading.error.code == "invalid_variable"
    assert grading.error.message == "The reference 'five' holds no number that can be taken."


def test_the_grading_says_what_was_compared() -> None:
    assert graded("1 or 6.5", "6").stdout == "6.5 against 6"
