"""The JSON that people have elsewhere: pasted in any of its forms, and given back in one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from test_kind_multi import check

from graders.kinds.base import Sample
from graders.kinds.registry import load_grader, validate_spec
from graders.kinds.wire import MASK, export, read_pasted

EXACT = check("{{item.answer}}")
BODY = {
    "model": "o4-mini",
    "training_file": "file-1",
    "method": {
        "type": "reinforcement",
        "reinforcement": {"grader": EXACT, "hyperparameters": {"n_epochs": 2}},
    },
}


@pytest.mark.parametrize(
    "pasted",
    [
        EXACT,
        EXACT | {"name": None, "pass_threshold": None},
        {"grader": EXACT},
        {"grader": EXACT, "model_sample": "4"},
        {"type": "reinforcement", "reinforcement": {"grader": EXACT}},
        {"reinforcement": {"grader": EXACT, "response_format": None}},
        BODY["method"],
        BODY,
    ],
)
def test_the_grader_is_found_in_what_people_paste(pasted: dict[str, Any]) -> None:
    assert read_pasted(pasted).spec == EXACT


def test_what_was_left_out_is_said() -> None:
    assert read_pasted(BODY).notes == (
        "Of the JSON only `method` was taken, and not model, training_file.",
        "Of the JSON only `grader` was taken, and not hyperparameters.",
    )
    assert read_pasted(EXACT).notes == ()


def test_neq_is_ne() -> None:
    pasted = read_pasted(EXACT | {"operation": "neq"})
    assert pasted.spec["operation"] == "ne"
    assert pasted.notes == ("`neq` is written `ne`.",)


def test_a_list_of_graders_gets_names_that_are_variables() -> None:
    listed = [EXACT, EXACT, EXACT | {"name": "Is it right?"}, EXACT | {"name": "1st"}]
    formula = "string_check + string_check_2 + Is_it_right + grader_1st"
    spec = {"type": "multi", "graders": listed, "calculate_output": formula}
    pasted = read_pasted({"grader": spec})
    names = ["string_check", "string_check_2", "Is_it_right", "grader_1st"]
    assert list(pasted.spec["graders"]) == names
    assert pasted.notes == (f"The list of graders is an object by name: {', '.join(names)}.",)
    grading = load_grader(pasted.spec).grade(Sample(output_text="4"), {"answer": "4"})
    assert grading.reward == 4.0


def test_a_single_grader_in_a_multi_is_one_of_one() -> None:
    spec = {"type": "multi", "graders": EXACT, "calculate_output": "string_check"}
    assert read_pasted(spec).spec["graders"] == {"string_check": EXACT}


@pytest.mark.parametrize(
    "odd",
    [
        {},
        {"grader": "x"},
        {"grader": {"grader": {"grader": {"grader": {"grader": {}}}}}},
        {"type": "multi", "graders": ["x", 3]},
        {"type": "multi", "graders": {"a": 3}},
        {"type": "multi", "graders": 3},
    ],
)
def test_what_is_no_grader_is_left_to_the_check_of_specs(odd: dict[str, Any]) -> None:
    assert isinstance(read_pasted(odd).spec, dict)


def test_an_export_has_every_name_and_no_secret() -> None:
    headers = {"Authorization": "Bearer 123"}
    endpoint = {"type": "endpoint", "url": "https://example.com", "headers": headers}
    spec = {
        "type": "multi",
        "graders": {"right": EXACT | {"operation": "neq"}, "mine": endpoint},
        "calculate_output": "right * mine",
    }
    assert export(spec, "both") == {
        "type": "multi",
        "name": "both",
        "graders": {
            "right": EXACT | {"name": "right", "operation": "ne"},
            "mine": endpoint | {"name": "mine", "headers": {"Authorization": MASK}},
        },
        "calculate_output": "right * mine",
    }
    assert spec["graders"]["mine"]["headers"] == headers


def test_an_export_can_be_pasted_again() -> None:
    spec = {"type": "multi", "graders": [EXACT | {"name": "a"}], "calculate_output": "a"}
    exported = json.loads(json.dumps(export(spec, "x")))
    assert read_pasted(exported).spec == exported
    validate_spec(exported)
