"""JSON from a text field: what can be kept and sent comes through, the rest is refused in words."""

from __future__ import annotations

import json

import pytest

from hone.core.errors import UserError
from hone.core.json_text import LONGEST, json_check, object_from_text, value_from_text
from hone.datasets.rows import Row, check_row


def test_plain_json_comes_through_as_it_is() -> None:
    source = '{"a": [1, -2.5, 1e308, true, null, "ü\\ud83d\\ude00"], "b": {}}'
    assert object_from_text(source, field="item") == {
        "a": [1, -2.5, 1e308, True, None, "ü\U0001f600"],
        "b": {},
    }
    assert value_from_text("[]", field="item") == []


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            "{",
            "Line 1, column 2: Expecting property name enclosed in double quotes. "
            "Write a JSON object.",
        ),
        ("", "Line 1, column 1: Expecting value. Write a JSON object."),
        ("[]", "This is no JSON object. Write one in braces: {…}."),
        ('{"a": NaN}', "NaN is no JSON number. Write plain JSON."),
        ('{"a": 1e999}', "It holds a number that is not finite or too large."),
        (
            '{"a": ' + "9" * 5000 + "}",
            "A number has 5000 digits; at most 4300 are read. Write plain JSON.",
        ),
        ('{"a": 1, "a": 2}', "The key 'a' stands twice in one object. Write plain JSON."),
        ('{"a": "\\u0000"}', "item holds a NUL character. Remove it."),
        ('{"\\ud800": 1}', "item holds a lone surrogate at character 0. Remove it."),
        (
            '{"a": ' + "[" * 65 + "]" * 65 + "}",
            "It is nested more than 64 levels deep. Make it flatter.",
        ),
        ('{"a": ' + "[" * 100_000, "The JSON is nested too deeply. Make it flatter."),
        (
            '"' + "x" * LONGEST + '"',
            "This has 2000002 characters; at most 2000000 are read. Shorten it.",
        ),
    ],
)
def test_json_that_cannot_be_kept_is_refused_by_name(source: str, message: str) -> None:
    with pytest.raises(UserError) as refusal:
        object_from_text(source, field="item")
    assert (refusal.value.field, refusal.value.message) == ("item", message)


@pytest.mark.parametrize("value", ["9" * 4300, "1e308", "[" * 63 + "1" + "]" * 63])
def test_what_a_row_of_a_dataset_may_hold_comes_through(value: str) -> None:
    row = f'{{"messages": [{{"role": "user", "content": ""}}], "x": {value}}}'
    assert isinstance(check_row(1, row.encode()), Row)
    assert object_from_text(row, field="item") == json.loads(row)


def test_a_value_that_is_no_json_is_named() -> None:
    with pytest.raises(UserError) as refusal:
        json_check({"a": [b""]}, field="item")
    assert refusal.value.message == "It holds a bytes, which is no JSON."
