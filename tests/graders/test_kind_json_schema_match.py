"""json_schema_match: what a schema allows, its share, and schemas that could never work."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from test_kind_contract import KindContract

from graders.kinds.base import GraderSpecError, Grading, Sample
from graders.kinds.registry import load_grader, validate_spec

SCHEMA = {
    "type": "object",
    "required": ["city", "rooms"],
    "properties": {
        "city": {"type": "string"},
        "rooms": {"type": "integer", "minimum": 1},
        "note": {"type": "string"},
    },
    "additionalProperties": False,
}


def graded(answer: str, **keys: Any) -> Grading:
    spec = {"type": "json_schema_match", "schema": SCHEMA, **keys}
    return load_grader(spec).grade(Sample(output_text=answer), {"answer": '{"city": 1}'})


class TestJsonSchemaMatch(KindContract):
    spec = {"type": "json_schema_match", "schema": SCHEMA}
    sample = Sample(output_text='{"city": "Graz", "rooms": 2}')
    reward = 1.0
    variables = {"sample.output_text"}


@pytest.mark.parametrize(
    ("answer", "whole", "share"),
    [
        ('{"city": "Graz", "rooms": 2}', 1.0, 1.0),
        ('{"city": "Graz", "rooms": 2, "note": "x"}', 1.0, 1.0),
        ('{"city": "Graz", "rooms": 2, "note": 3}', 0.0, 2 / 3),
        ('{"city": "Graz", "rooms": 0}', 0.0, 1 / 2),
        ('{"city": "Graz"}', 0.0, 1 / 2),
        ('{"city": "Graz", "rooms": 2, "more": 1}', 0.0, 2 / 3),
        ("{}", 0.0, 0.0),
        ("[]", 0.0, 0.0),
        ("Graz, 2 rooms", 0.0, 0.0),
        ('```json\n{"city": "Graz", "rooms": 2}\n```', 0.0, 0.0),
        ('{"city": "Graz", "rooms": 1, "rooms": 2}', 0.0, 0.0),
        ('{"city": "Graz", "rooms": NaN}', 0.0, 0.0),
        ('{"city": "Graz", "rooms": 1e999}', 0.0, 0.0),
    ],
)
def test_the_whole_earns_one_and_parts_their_share(answer: str, whole: float, share: float) -> None:
    assert graded(answer).reward == whole
    assert graded(answer, partial=True).reward == share


def test_the_grading_says_what_is_wrong() -> None:
    assert graded('{"city": 7}').stdout == (
        "It: 'rooms' is a required property\ncity: 7 is not of type 'string'"
    )
    assert graded("Graz").stdout.startswith("This is no JSON: Expecting value")


def test_a_part_of_the_answer_or_a_call_can_be_read() -> None:
    assert graded("x", input="{{item.answer}}").stdout.endswith("city: 1 is not of type 'string'")
    call = {"function": {"name": "book", "arguments": '{"city": "Graz", "rooms": 2}'}}
    spec = TestJsonSchemaMatch.spec | {"input": "{{sample.output_tools[0].function.arguments}}"}
    sample = Sample(output_text="", output_tools=[call])
    assert load_grader(spec).grade(sample, {}).reward == 1.0


def test_many_breaches_in_one_property_hide_none_in_another() -> None:
    rooms = {"type": "array", "items": {"type": "integer"}}
    schema = {"required": ["rooms", "city"], "properties": {"rooms": rooms, "city": {"const": "x"}}}
    answer = json.dumps({"rooms": ["a"] * 1500, "city": "y"})
    assert graded(answer, schema=schema, partial=True).reward == 0.0


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"type": "objekt"}, "type: 'objekt' is not valid"),
        ({"$ref": "#"}, "refers to itself without end"),
        ({"$ref": "#/$defs/none"}, "'#/\\$defs/none' leads nowhere"),
        ({"$ref": "https://example.com/schema.json"}, "leads nowhere"),
        ({"properties": {"a": {"pattern": "("}}}, "is not a 'regex'"),
        ({"properties": {"a": {"patternProperties": {"(": {}}}}}, "cannot be read|'regex'"),
    ],
)
def test_a_schema_that_cannot_work_is_refused(schema: dict[str, Any], said: str) -> None:
    with pytest.raises(GraderSpecError, match=said) as refusal:
        validate_spec({"type": "json_schema_match", "schema": schema})
    assert refusal.value.param == "schema"


def test_references_inside_the_schema_are_followed() -> None:
    schema = {"$ref": "#/$defs/tree", "$defs": {"tree": {"items": {"$ref": "#/$defs/tree"}}}}
    assert graded("[[], [[]]]", schema=schema).reward == 1.0
    schema["$defs"]["tree"]["type"] = "array"
    assert graded("[[], [[3]]]", schema=schema).reward == 0.0


def test_references_that_multiply_are_refused() -> None:
    parts = {f"a{i}": {"allOf": [{"$ref": f"#/$defs/a{i + 1}"}] * 2} for i in range(30)}
    schema = {"$ref": "#/$defs/a0", "$defs": parts | {"a30": {}}}
    with pytest.raises(GraderSpecError, match="more than 20000 times"):
        validate_spec({"type": "json_schema_match", "schema": schema})


def test_a_pattern_that_takes_too_long_is_an_error_and_no_score() -> None:
    grading = graded(json.dumps("a" * 50 + "!"), schema={"pattern": r"^(a|a|b|aa)+$"})
    assert grading.reward is None
    assert grading.error is not None
    assert "took longer than 0.5 s for a text of 51 characters" in grading.error.message


@pytest.mark.parametrize(
    ("items", "reward"),
    [("[1, 2]", 1.0), ("[1, 1.0]", 0.0), ("[1, true]", 1.0), ('[{"a": 1}, {"a": 1.0}]', 0.0)],
)
def test_unique_items_are_those_of_json(items: str, reward: float) -> None:
    assert graded(items, schema={"uniqueItems": True}).reward == reward


def test_many_items_are_told_apart_in_one_pass() -> None:
    items = json.dumps([each for number in range(20_000) for each in (number, str(number))])
    started = time.monotonic()
    assert graded(items, schema={"uniqueItems": True}).reward == 1.0
    assert time.monotonic() - started < 20
