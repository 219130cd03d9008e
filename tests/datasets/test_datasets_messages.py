"""What the messages of a row must be: text alone, and calls with their answers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hone.datasets.rows import Row, check_row

USER: dict[str, Any] = {"role": "user", "content": "How many?"}


def _call(arguments: str = '{"q": "x"}', name: str = "search", **keys: Any) -> dict[str, Any]:
    function = {"name": name, "arguments": arguments}
    return {"id": "call_1", "type": "function", "function": function, **keys}


def _asks(*calls: dict[str, Any]) -> dict[str, Any]:
    return {"role": "assistant", "tool_calls": list(calls)}


def _answers(**keys: Any) -> dict[str, Any]:
    return {"role": "tool", "content": "42", **keys}


def _checked(*messages: dict[str, Any]) -> Any:
    return check_row(17, json.dumps({"messages": messages}).encode())


def _only(*messages: dict[str, Any]) -> tuple[str, str, str]:
    (problem,) = _checked(*messages)
    assert problem.line == 17
    return problem.field, problem.code, problem.message


@pytest.mark.parametrize("role", ["developer", "system", "user", "assistant"])
def test_these_roles_say_a_text(role: str) -> None:
    assert isinstance(_checked({"role": role, "content": "", "weight": 0}, USER), Row)
    assert _only({"role": role}, USER) == (
        "messages[0].content",
        "content",
        "Line 17: `messages[0].content` is missing. Give it a text.",
    )


def test_a_call_and_its_answer_are_a_conversation() -> None:
    answer = _answers(tool_call_id="call_1", name="search")
    assert isinstance(_checked(USER, _asks(_call()), answer, USER), Row)
    later = _asks(_call(id="call_2"), _call(id="call_3"))
    assert isinstance(_checked(_asks(_call()), later, answer, USER), Row)
    assert isinstance(_checked({**USER, "tool_calls": [], "tool_call_id": None}), Row)


def test_content_is_a_text_or_parts_of_text() -> None:
    kinds = ("text", "input_text", "output_text")
    parts = [{"type": kind, "text": "x"} for kind in kinds]
    assert isinstance(_checked({"role": "user", "content": parts}), Row)


@pytest.mark.parametrize(
    ("content", "field", "code", "words"),
    [
        ([], "", "content", " is an empty list. Give it a text."),
        ([{"foo": 1}], "[0]", "shape", ": Object missing required field `type`."),
        ([{"type": "text"}], "[0]", "shape", ": Object missing required field `text`."),
        (
            [{"type": "text", "text": "x"}, {"type": "image_url", "image_url": {"url": "x"}}],
            "[1].type",
            "type",
            " is 'image_url'. Use one of text, input_text, output_text.",
        ),
        (["x"], "[0]", "shape", ": Expected `object`, got `str`."),
        (5, "", "shape", ": Expected `str | array | null`, got `int`."),
    ],
)
def test_other_content_is_refused_at_its_place(
    content: Any, field: str, code: str, words: str
) -> None:
    place = f"messages[0].content{field}"
    assert _only({"role": "user", "content": content}) == (
        place,
        code,
        f"Line 17: `{place}`{words}",
    )


def test_only_the_assistant_calls() -> None:
    assert _only({**USER, "tool_calls": [_call()]}) == (
        "messages[0].tool_calls",
        "tool_calls",
        "Line 17: `messages[0].tool_calls` belongs to an `assistant` message, and this one's role "
        "is `user`. Remove it.",
    )


@pytest.mark.parametrize(
    ("call", "field", "words"),
    [
        ({"type": "function"}, "", ": Object missing required field `id`."),
        ({**_call(), "type": "custom"}, ".type", " is 'custom'. Use function."),
        (
            _call(function={"name": "x"}),
            ".function",
            ": Object missing required field `arguments`.",
        ),
        (
            _call(function={"name": "x", "arguments": {}}),
            ".function.arguments",
            ": Expected `str`, got `object`.",
        ),
        (
            _call(name="no spaces"),
            ".function.name",
            " is 'no spaces'. Use 1 to 64 letters, digits, `_` or `-`.",
        ),
    ],
)
def test_a_call_has_the_shape_of_chat_completions(
    call: dict[str, Any], field: str, words: str
) -> None:
    place = f"messages[0].tool_calls[0]{field}"
    found, _, message = _only(_asks(call), USER)
    assert (found, message) == (place, f"Line 17: `{place}`{words}")


@pytest.mark.parametrize("arguments", ["", "x", "[]", '{"a":1e999}', "[" * 5000, r'{"a":"\u0000"}'])
def test_arguments_are_the_json_text_of_an_object(arguments: str) -> None:
    shown = arguments if len(arguments) < 80 else arguments[:79] + "…"
    place = "messages[0].tool_calls[0].function.arguments"
    assert _only(_asks(_call(arguments)), USER) == (
        place,
        "arguments",
        f"Line 17: `{place}` is {shown!r}. Write the arguments as the JSON text of an object, such "
        "as {}.",
    )


@pytest.mark.parametrize(
    ("keys", "what"),
    [({}, "is missing"), ({"tool_call_id": "call_2"}, "is 'call_2', which no call has")],
)
def test_an_answer_names_the_call_before_it(keys: dict[str, str], what: str) -> None:
    place = "messages[1].tool_call_id"
    assert _only(_asks(_call()), _answers(**keys), USER) == (
        place,
        "tool_call_id",
        f"Line 17: `{place}` {what}. Give it the `id` of the earlier call that it answers.",
    )


def test_only_a_tool_answers() -> None:
    assert _only({**USER, "tool_call_id": "call_1"}) == (
        "messages[0].tool_call_id",
        "tool_call_id",
        "Line 17: `messages[0].tool_call_id` belongs to a `tool` message, and this one's role is "
        "`user`. Remove it.",
    )
