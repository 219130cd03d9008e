"""What a row must be: every refusal names its line, its field, and what to do."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hone.datasets.errors import Problem
from hone.datasets.rows import Row, check_row

GOOD: dict[str, Any] = {"messages": [{"role": "user", "content": "Hi"}]}


def _tool(name: str = "search", **function: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, **function}}


def _problems(row: object, number: int = 17) -> list[Problem]:
    line = row if isinstance(row, bytes) else json.dumps(row).encode()
    found = check_row(number, line)
    assert isinstance(found, list)
    return found


def _only(row: object) -> tuple[int, str, str, str]:
    (problem,) = _problems(row)
    return problem.line, problem.field, problem.code, problem.message


def test_a_good_row_tells_its_keys_and_tools() -> None:
    row = check_row(1, json.dumps({**GOOD, "tools": [_tool()], "answer": 4}).encode())
    assert isinstance(row, Row)
    assert (row.keys, row.tools) == (("messages", "tools", "answer"), ("search",))


def test_an_unknown_role_is_named_with_the_closest_one() -> None:
    assert _only({"messages": [{"role": "usr", "content": "x"}]}) == (
        17,
        "messages[0].role",
        "role",
        "Line 17: `messages[0].role` is 'usr'. Use one of developer, system, user, assistant, "
        "tool. Did you mean `user`?",
    )


@pytest.mark.parametrize(
    ("role", "shown"), [("assistant", "an `assistant`"), ("system", "a `system`")]
)
def test_the_last_message_is_the_users(role: str, shown: str) -> None:
    row = {"messages": [*GOOD["messages"], {"role": role, "content": "x"}]}
    assert _only(row) == (
        17,
        "messages[1].role",
        "dataset_last_role",
        f"Line 17 ends with {shown} message; training rows must end with `user`. Remove the last "
        "message, or move it to a key such as `reference`.",
    )


def test_an_unknown_role_is_shown_as_it_was_written() -> None:
    hostile = "u'ser' -\n at `$.role"
    message = _only({"messages": [{"role": hostile, "content": "x"}]})[3]
    assert message.startswith(f"Line 17: `messages[0].role` is {hostile!r}. Use one of developer")


def test_a_tool_is_a_function() -> None:
    assert _only({**GOOD, "tools": [{"type": "web"}]}) == (
        17,
        "tools[0].type",
        "type",
        "Line 17: `tools[0].type` is 'web'. Use function.",
    )


def test_no_messages_at_all_is_refused() -> None:
    assert _only({"messages": []}) == (
        17,
        "messages",
        "messages_empty",
        "Line 17: `messages` is empty. Give at least one message, by the user.",
    )


@pytest.mark.parametrize("key", ["message", "mesages", "Messages", "msgs"])
def test_a_misspelt_messages_key_is_recognised(key: str) -> None:
    assert _only({key: [], "answer": 1}) == (
        17,
        "messages",
        "messages_missing",
        f"Line 17 has no `messages`. Keys present: {key}, answer. Did you mean `{key}`?",
    )


def test_of_very_many_keys_the_first_hundred_are_compared() -> None:
    row = {f"k{n}": 1 for n in range(99)}
    assert _only({**row, "msgs": 1})[3].endswith("Did you mean `msgs`?")
    assert "Did you mean" not in _only({**row, "k99": 1, "msgs": 1})[3]


def test_a_row_with_no_key_like_messages_lists_what_it_has() -> None:
    add = "Add messages that end with the user."
    assert _only({"prompt": "x"})[3] == f"Line 17 has no `messages`. Keys present: prompt. {add}"
    assert _only({})[3] == f"Line 17 has no `messages`. Keys present: none. {add}"


@pytest.mark.parametrize(
    ("row", "field", "message"),
    [
        ([], "", "Line 17: the row: Expected `object`, got `array`."),
        ({"messages": "x"}, "messages", "Line 17: `messages`: Expected `array`, got `str`."),
        (
            {"messages": [{"content": "x"}]},
            "messages[0]",
            "Line 17: `messages[0]`: Object missing required field `role`.",
        ),
        (
            {**GOOD, "tools": [_tool(parameters=[])]},
            "tools[0].function.parameters",
            "Line 17: `tools[0].function.parameters`: Expected `object | null`, got `array`.",
        ),
    ],
)
def test_a_wrong_shape_is_refused_at_its_place(row: object, field: str, message: str) -> None:
    assert _only(row) == (17, field, "shape", message)


def test_a_tool_name_has_letters_that_models_can_call() -> None:
    assert _only({**GOOD, "tools": [_tool("no spaces")]}) == (
        17,
        "tools[0].function.name",
        "tool_name",
        "Line 17: `tools[0].function.name` is 'no spaces'. Use 1 to 64 letters, digits, `_` or "
        "`-`.",
    )
    assert isinstance(check_row(1, json.dumps({**GOOD, "tools": [_tool("a" * 64)]}).encode()), Row)
    assert _only({**GOOD, "tools": [_tool("a" * 65)]})[2] == "tool_name"


def test_a_tool_named_twice_is_refused() -> None:
    assert _only({**GOOD, "tools": [_tool(), _tool()]}) == (
        17,
        "tools[1].function.name",
        "tool_twice",
        "Line 17 names the tool `search` twice. Keep one of them.",
    )


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ({"type": "array"}, "its type is 'array', and arguments are an object"),
        (
            {"type": "object", "properties": {"a": {"type": "text"}}},
            "'text' is not valid under any of the given schemas",
        ),
        ({"type": "object", "required": "a"}, "'a' is not of type 'array'"),
        ({"type": "object", "properties": 3}, "3 is not of type 'object'"),
    ],
)
def test_a_tool_schema_must_be_one(schema: dict[str, Any], why: str) -> None:
    row = {**GOOD, "tools": [_tool(parameters=schema)]}
    expected = f"Line 17: `tools[0].function.parameters` is no JSON schema of an object: {why}."
    assert _only(row) == (17, "tools[0].function.parameters", "tool_schema", expected)


@pytest.mark.parametrize("number", ["1e999", "-1e999", "9" * 5000, "NaN", "Infinity", "-Infinity"])
def test_numbers_that_json_cannot_carry_are_refused_at_their_place(number: str) -> None:
    line = b'{"messages":[{"role":"user","content":"x"}],"a":{"b":[1,%s]}}' % number.encode()
    word = "not a number (NaN)" if number == "NaN" else "too large or infinite"
    assert _only(line) == (
        17,
        "a.b[1]",
        "non_finite",
        f"Line 17: `a.b[1]` is {word}, which JSON cannot carry. Write it as a text, use null or "
        "leave it out.",
    )


@pytest.mark.parametrize("number", [str(2**63), "9" * 300, "1e308", "-0.0"])
def test_long_but_finite_numbers_are_kept(number: str) -> None:
    line = b'{"messages":[{"role":"user","content":"x"}],"a":%s}' % number.encode()
    assert isinstance(check_row(1, line), Row)


def test_nul_and_half_characters_are_refused_at_their_place() -> None:
    start = b'{"messages":[{"role":"user","content":"x"}],'
    assert _only(start + rb'"a":["\u0000"]}') == (
        17,
        "a[0]",
        "nul",
        "Line 17: `a[0]` holds a NUL character. Remove it.",
    )
    assert _only(start + rb'"a":"\ud800"}') == (
        17,
        "a",
        "surrogate",
        "Line 17: `a` holds half a character (\\ud800), which no text can hold. Remove it.",
    )
    assert _only(start + rb'"\u0000":1}')[1:3] == ("\\u0000 (a key)", "nul")
    assert _only(start + rb'"\udfff":1}')[1:3] == ("\\udfff (a key)", "surrogate")
    assert isinstance(check_row(1, start + rb'"a":"\ud83d\ude00 \\u0000"}'), Row)


def test_text_that_is_not_utf8_is_refused_at_its_byte() -> None:
    assert _only(b'{"messages":"caf\xe9"}') == (
        17,
        "",
        "encoding",
        "Line 17 is not UTF-8: byte 17 of the line is 0xe9. Save the file as UTF-8.",
    )
    assert _only(json.dumps(GOOD).encode("utf-16"))[2] == "encoding"


def test_a_byte_order_mark_is_named() -> None:
    assert _only(json.dumps(GOOD).encode("utf-8-sig"))[2:] == (
        "json",
        "Line 17 is not JSON: it begins with a byte-order mark. Save the file as UTF-8 without "
        "one.",
    )


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b'{"messages":', "Input data was truncated"),
        (b'{"a":1}{"a":2}', "trailing characters (byte 8)"),
        (b"{'a':1}", "object keys must be strings (byte 1)"),
        (b'{"a":"\x00"}', "invalid character (byte 6)"),
    ],
)
def test_what_is_not_json_says_where(line: bytes, why: str) -> None:
    expected = f"Line 17 is not JSON: {why}. Each line must hold one whole JSON object."
    assert _only(line) == (17, "", "json", expected)


@pytest.mark.parametrize("line", [b"[" * 100_000, b'{"a":' * 100_000])
def test_brackets_without_end_are_refused(line: bytes) -> None:
    assert _only(line) == (
        17,
        "",
        "nesting",
        "Line 17 is nested more than 64 deep. Flatten it.",
    )


def test_nesting_is_refused_beyond_sixty_four() -> None:
    def nested(depth: int) -> bytes:
        inside = b"[" * depth + b"]" * depth
        return b'{"messages":[{"role":"user","content":"x"}],"a":%s}' % inside

    assert isinstance(check_row(1, nested(64)), Row)
    assert _only(nested(65))[2] == "nesting"
    assert _only(nested(900))[2] == "nesting"


@pytest.mark.parametrize("text", [b"[" * 99, b"]" * 99, rb"\\\"" + b"}" * 99])
def test_nesting_counts_values_and_not_what_stands_in_a_text(text: bytes) -> None:
    start = b'{"messages":[{"role":"user","content":"%s"}],"a":' % text
    for depth, value, accepted in ((64, b"", True), (63, b"1", True), (64, b"1", False)):
        line = start + b"[" * depth + value + b"]" * depth + b"}"
        assert isinstance(check_row(17, line), Row) == accepted
    problem = _only(start + b"[" * 63 + b'{"b":1}' + b"]" * 63 + b"}")
    assert problem[1:3] == ("a" + "[0]" * 63 + ".b", "nesting")


def test_what_is_wrong_with_the_whole_row_has_no_place() -> None:
    assert _only(b"1e999")[1:] == (
        "",
        "non_finite",
        "Line 17: the row is too large or infinite, which JSON cannot carry. Write it as a text, "
        "use null or leave it out.",
    )


def test_of_a_key_given_twice_the_last_value_counts() -> None:
    line = b'{"messages":[],"messages":[{"role":"user","content":"x"}],"a":1,"a":2}'
    row = check_row(1, line)
    assert isinstance(row, Row)
    assert row.keys == ("messages", "a")
    assert json.loads(line)["a"] == 2


def test_what_a_hostile_row_shows_stays_short() -> None:
    long = "x" * 1_000_000
    rows: list[object] = [
        {"messages": [{"role": long, "content": "x"}]},
        {long: 1},
        {**GOOD, "tools": [_tool(long)]},
        {**GOOD, "tools": [_tool(parameters={"type": long})]},
        b'{"messages":[{"role":"user","content":"x"}],"%s":1e999}' % long.encode(),
    ]
    for row in rows:
        for problem in _problems(row):
            assert len(problem.message) < 700
            assert len(problem.field) <= 210


def test_one_row_reports_at_most_a_hundred_problems() -> None:
    line = b'{"messages":[{"role":"user","content":"x"}],"a":[%s]}' % b",".join([b"1e999"] * 5000)
    assert len(_problems(line)) == 100
