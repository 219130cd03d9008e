"""Values that nobody vouches for: JSON is plain or none, and what is shown can be stored."""

from __future__ import annotations

import json

import pytest
from test_kind_json_schema_match import graded

from graders.kinds.values import NotJson, read_json, storable


def nested(levels: int) -> str:
    return "[" * levels + "]" * levels


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "Expecting value"),
        ("{'a': 1}", "Expecting property name"),
        ('{"a": 1, "a": 1}', "A key stands twice"),
        ("[NaN]", "NaN is no JSON number"),
        ("[-Infinity]", "-Infinity is no JSON number"),
        ("1e309", "1e309 is too large"),
        ("1" * 301, "A number has 301 digits; at most 300"),
        (nested(66), "more than 64 levels"),
        (nested(100_000), "nested too deeply"),
        ('"' + "x" * 1_000_000 + '"', "1000002 characters; at most 1000000"),
    ],
)
def test_what_is_no_plain_json_is_refused(text: str, said: str) -> None:
    with pytest.raises(NotJson, match=said):
        read_json(text)


@pytest.mark.parametrize("text", ["1" * 300, nested(65), "[1e308, -0.0, null]", '"\\u0000"'])
def test_plain_json_is_read_as_it_is(text: str) -> None:
    assert read_json(text) == json.loads(text)


def test_what_is_shown_is_short_and_no_database_refuses_it() -> None:
    assert storable("a\x00b\ud800") == "a\N{REPLACEMENT CHARACTER}b?"
    assert storable("x" * 200) == "x" * 200
    assert storable("x" * 201) == "x" * 199 + "…"


def test_keys_of_an_answer_are_shown_without_harm() -> None:
    schema = {"additionalProperties": {"type": "integer"}}
    grading = graded('{"a\\u0000\\ud800": "x"}', schema=schema)
    assert grading.stdout == "a\N{REPLACEMENT CHARACTER}?: 'x' is not of type 'integer'"
