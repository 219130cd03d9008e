"""Turns as rows: long texts are cut, repeats are found, arguments are indented."""

from __future__ import annotations

from typing import Any

from jobs.engine.types import StopReason, ToolCall, Trajectory, Turn
from jobs.views.turns import cut, indented, turn_rows, verdict


def _call(arguments: str = "{}", output: str | None = "x", **more: Any) -> ToolCall:
    fields: dict[str, Any] = {"status": "ok", **more}
    return ToolCall(id="c", name="read", arguments=arguments, output=output, **fields)


def _trajectory(*turns: Turn, **more: Any) -> Trajectory:
    fields: dict[str, Any] = {"stop": StopReason.FINAL_ANSWER, "reward": 1.0, **more}
    return Trajectory(
        uid="t", row=0, group="g", sample=0, split="train", trace_id="trace_0",
        ids=[], logprobs=[], entropies=[], kinds=[], turns=list(turns), **fields,
    )  # fmt: skip


def _turn(index: int, *calls: ToolCall, **more: Any) -> Turn:
    return Turn(index=index, start=0, end=3, text=more.pop("text", "…"), calls=list(calls), **more)


def test_a_short_text_is_whole() -> None:
    assert cut("one\ntwo") == cut("one\ntwo")
    assert (cut("one").head, cut("one").rest, cut("one").left_out) == ("one", "", 0)
    assert not cut("")


def test_a_text_of_many_lines_is_folded_after_forty() -> None:
    made = cut("\n".join(str(line) for line in range(100)))
    assert made.head.splitlines()[-1] == "39"
    assert made.rest.splitlines()[1] == "40"


def test_one_long_line_is_folded_and_then_left_to_the_raw_json() -> None:
    made = cut("x" * 25_000)
    assert (len(made.head), len(made.rest), made.left_out) == (4_000, 16_000, 5_000)


def test_arguments_are_indented_unless_they_are_no_json() -> None:
    assert indented('{"id":5512}') == '{\n  "id": 5512\n}'
    assert indented('{"id":') == '{"id":'
    assert indented("[" * 100_000) == "[" * 100_000


def test_a_repeat_is_the_same_name_and_arguments_however_they_are_spaced() -> None:
    rows = turn_rows(
        _trajectory(
            _turn(0, _call('{"a": 1}')),
            _turn(1, _call('{"a":1}'), _call('{"a":2}')),
            _turn(2, _call('{"a":1}', output="other")),
        )
    )
    assert [[(call.repeats, call.same) for call in row.calls] for row in rows] == [
        [(None, 1)],
        [(1, 2), (None, 1)],
        [(1, 1)],
    ]


def test_a_turn_that_could_not_be_read_shows_its_raw_text() -> None:
    (row,) = turn_rows(_trajectory(_turn(0, text="<tool_call>{oops")))
    assert row.raw.head == "<tool_call>{oops"
    (readable,) = turn_rows(_trajectory(_turn(0, content="yes")))
    assert not readable.raw


def test_a_call_of_a_tool_that_does_not_exist_is_named_and_its_error_is_said_once() -> None:
    made_up = _call(
        output="Error: there is no tool named 'serch'. Tools: search.",
        status="malformed",
        error="unknown tool 'serch'",
    )
    unread = _call(output="Error: no JSON", status="malformed", error="no JSON")
    told = _call(output="Error", status="tool_error", error="HTTP 404")
    (row,) = turn_rows(_trajectory(_turn(0, made_up, unread, told)))
    assert [(call.status, call.error) for call in row.calls] == [
        ("no such tool, shown to the model (trains)", ""),
        ("not a readable call, shown to the model (trains)", ""),
        ("tool error, shown to the model (trains)", "HTTP 404"),
    ]


def test_a_call_made_twice_is_no_loop_in_the_verdict_and_three_times_is() -> None:
    twice = _trajectory(_turn(0, _call()), _turn(1, _call()), _turn(2, content="yes"))
    assert verdict(twice, turn_rows(twice)) == "Ended with final answer at turn 3."
    thrice = _trajectory(*(_turn(at, _call()) for at in range(3)), _turn(3, content="yes"))
    assert verdict(thrice, turn_rows(thrice)) == (
        "Ended with final answer at turn 4. The same call gave the same result 3 times."
    )


def test_the_verdict_says_how_it_ended() -> None:
    done = _trajectory(_turn(0, content="yes"))
    assert verdict(done, turn_rows(done)) == "Ended with final answer at turn 1."
    looped = _trajectory(
        _turn(0, _call()), _turn(1, _call()), stop=StopReason.TOOL_LOOP, reward=0.0
    )
    assert verdict(looped, turn_rows(looped)) == (
        "Ended with loop (tools) at turn 2; limits and loops earn at most 0. "
        "The same call gave the same result 2 times."
    )
    fault = _trajectory(_turn(0), stop=StopReason.TOOL_FAULT, reward=None, cause="read: timeout")
    assert verdict(fault, turn_rows(fault)).startswith("Ungraded: tool fault (read: timeout).")
