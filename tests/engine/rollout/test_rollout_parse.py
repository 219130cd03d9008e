"""Parsing turns: thinking, content, calls in each format, and what is wrong with bad ones."""

from __future__ import annotations

import pytest

from jobs.engine.rollout.parse import ParsedCall, ToolFormat, parse_turn


def faults(turn):
    return [call.error for call in turn.calls if call.error]


def test_a_plain_answer_is_content():
    turn = parse_turn(" 42 apples\n")
    assert (turn.reasoning, turn.content, turn.calls) == ("", "42 apples", [])


def test_thinking_is_kept_apart_from_the_answer():
    turn = parse_turn("<think>\nlet me see\n</think>\n\n42")
    assert (turn.reasoning, turn.content) == ("let me see", "42")


def test_thinking_that_the_prompt_opened_ends_at_its_tag():
    turn = parse_turn("let me see\n</think>\n42")
    assert (turn.reasoning, turn.content) == ("let me see", "42")


def test_thinking_that_the_prompt_opened_and_nobody_ends_is_no_answer():
    said = 'maybe 42 <tool_call>{"name": "f", "arguments": {}}</tool_call>'
    turn = parse_turn(said, thinking=True)
    assert (turn.reasoning, turn.content, turn.calls) == (said, "", [])


def test_an_answer_after_thinking_that_the_prompt_opened_is_content():
    turn = parse_turn("let me see\n</think>\n42", thinking=True)
    assert (turn.reasoning, turn.content) == ("let me see", "42")


def test_thinking_that_never_ends_holds_no_call():
    turn = parse_turn('<think>I could <tool_call>{"name": "f", "arguments": {}}</tool_call>')
    assert turn.calls == []
    assert turn.content == ""


def test_hermes_calls_keep_their_order():
    turn = parse_turn(
        'Both.\n<tool_call>\n{"name": "a", "arguments": {"x": 1}}\n</tool_call>\n'
        '<tool_call>\n{"name": "b", "arguments": {}}\n</tool_call>'
    )
    assert turn.content == "Both."
    assert turn.calls == [ParsedCall("a", '{"x": 1}'), ParsedCall("b", "{}")]


def test_a_call_without_its_closing_tag_is_read_to_the_end():
    turn = parse_turn('<tool_call>{"name": "a", "arguments": {"x": "é"}}')
    assert turn.calls == [ParsedCall("a", '{"x": "é"}')]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ('{"name": "a", "arguments": {"x": }}', "not valid JSON"),
        ('{"arguments": {}}', "has no name"),
        ('{"name": 3, "arguments": {}}', "has no name"),
        ('{"name": "a", "arguments": [1]}', "not an object"),
        ('{"name": "a", "arguments": "nope"}', "arguments are not valid JSON"),
        ('{"name": "a", "arguments": {"x": NaN}}', "NaN is not a JSON number"),
        ("[]", "an object with name and arguments"),
        ("[" * 100_000, "not valid JSON"),
    ],
)
def test_a_malformed_call_says_what_is_wrong(body, reason):
    turn = parse_turn(f"<tool_call>{body}</tool_call>")
    assert len(turn.calls) == 1
    assert reason in faults(turn)[0]
    assert faults(turn)[0].startswith("Error: the tool call is malformed")


def test_malformed_and_good_calls_stay_in_order():
    turn = parse_turn(
        '<tool_call>{</tool_call><tool_call>{"name": "b", "arguments": {}}</tool_call>'
    )
    assert [bool(call.error) for call in turn.calls] == [True, False]


def test_arguments_given_as_a_json_string_are_read():
    turn = parse_turn('<tool_call>{"name": "a", "arguments": "{\\"x\\": 1}"}</tool_call>')
    assert turn.calls == [ParsedCall("a", '{"x": 1}')]


def test_lone_surrogates_are_replaced():
    turn = parse_turn('<tool_call>{"name": "a", "arguments": {"x": "\\ud800"}}</tool_call>')
    assert turn.calls == [ParsedCall("a", '{"x": "?"}')]


def test_llama_writes_a_bare_object_with_parameters():
    turn = parse_turn('{"name": "a", "parameters": {"x": 1}}', ToolFormat.LLAMA)
    assert (turn.content, turn.calls) == ("", [ParsedCall("a", '{"x": 1}')])


def test_llama_may_tag_and_separate_calls():
    text = '<|python_tag|>{"name": "a", "parameters": {}}; {"name": "b", "parameters": {}}'
    turn = parse_turn(text, ToolFormat.LLAMA)
    assert [call.name for call in turn.calls] == ["a", "b"]


def test_a_llama_answer_that_is_other_json_is_an_answer():
    turn = parse_turn('{"total": 3}', ToolFormat.LLAMA)
    assert (turn.content, turn.calls) == ('{"total": 3}', [])


def test_a_broken_llama_call_is_malformed():
    turn = parse_turn('{"name": "a", "parameters": {', ToolFormat.LLAMA)
    assert "not valid JSON" in faults(turn)[0]


def test_mistral_writes_a_list_after_its_mark():
    text = 'Look. [TOOL_CALLS] [{"name": "a", "arguments": {"x": 1}, "id": "abcdefghi"}]'
    turn = parse_turn(text, ToolFormat.MISTRAL)
    assert (turn.content, turn.calls) == ("Look.", [ParsedCall("a", '{"x": 1}')])


@pytest.mark.parametrize("body", ["", "[]", "3", "[{]"])
def test_a_broken_mistral_list_is_one_malformed_call(body):
    turn = parse_turn(f"[TOOL_CALLS]{body}", ToolFormat.MISTRAL)
    assert len(faults(turn)) == 1


def test_newer_mistral_models_name_each_call():
    text = '[TOOL_CALLS]a[ARGS]{"x": 1}[TOOL_CALLS]b[CALL_ID]abc[ARGS]{}'
    turn = parse_turn(text, ToolFormat.MISTRAL)
    assert turn.calls == [ParsedCall("a", '{"x": 1}'), ParsedCall("b", "{}")]
