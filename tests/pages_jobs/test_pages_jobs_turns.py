"""Turns as rows: long texts are cut, repeats are found, arguments are indented."""

from __future__ import annotations

from typing import Any

from jobs.engine.rollout.loops import TOOL_LOOP_WARNING
from jobs.engine.types import StopReason, TokenKind, ToolCall, Trajectory, Turn
from jobs.views.texts import Cut, Loop, cut, loop_at_end, more
from jobs.views.turns import indented, turn_rows, verdict


def _call(arguments: str = "{}", output: str | None = "x", **more: Any) -> ToolCall:
    fields: dict[str, Any] = {"status": "ok", **more}
    return ToolCall(id="c", name="read", arguments=arguments, output=output, **fields)


def _trajectory(*turns: Turn, **fields_given: Any) -> Trajectory:
    fields: dict[str, Any] = {"stop": StopReason.FINAL_ANSWER, "reward": 1.0}
    fields |= {name: [] for name in ("ids", "logprobs", "entropies", "kinds")} | fields_given
    return Trajectory(
        uid="t", row=0, group="g", sample=0, split="train", trace_id="trace_0",
        turns=list(turns), **fields,
    )  # fmt: skip


def _turn(index: int, *calls: ToolCall, **more: Any) -> Turn:
    return Turn(index=index, start=0, end=3, text=more.pop("text", "…"), calls=list(calls), **more)


def test_a_short_text_is_whole() -> None:
    assert cut("one\ntwo") == Cut("one\ntwo", offset=7, left=0)
    assert not cut("")


def test_a_text_of_many_lines_is_cut_after_forty_and_goes_on_where_it_was_cut() -> None:
    text = "\n".join(str(line) for line in range(100))
    made = cut(text)
    assert made.shown.splitlines()[-1] == "39"
    assert made.shown + more(text, made.offset).shown == text


def test_one_long_line_stays_one_line_and_comes_in_steps() -> None:
    text = "x" * 25_000
    made = cut(text)
    assert (len(made.shown), made.left, made.step) == (4_000, 21_000, 16_000)
    step = more(text, made.offset)
    assert (len(step.shown), step.offset, step.left) == (16_000, 20_000, 5_000)


def test_a_loop_is_found_at_the_end_with_its_period_and_times() -> None:
    assert loop_at_end("start " + "abcdef" * 20) == Loop(start=6, period=6, times=20)
    assert loop_at_end("abc" * 20) is None, "too short"
    assert loop_at_end("abcdefgh" * 3 + "x" * 4) is None


def test_a_token_loop_keeps_two_periods_and_says_what_was_masked() -> None:
    text = "start " + "abcdef" * 20
    ids = [*range(100, 104), *(list(range(6)) * 20)]
    kinds = [TokenKind.SAMPLED] * 16 + [TokenKind.LOOP] * 108
    turn = Turn(index=0, start=0, end=124, text=text, content=text)
    looped = _trajectory(turn, ids=ids, kinds=kinds, logprobs=[0.0] * 124, entropies=[0.0] * 124)
    (row,) = turn_rows(looped)
    assert row.content.shown == "start abcdefabcdef"
    assert row.loop is not None
    assert (row.loop.period, row.loop.times, row.loop.trained, row.loop.masked) == (6, 20, 12, 108)
    assert row.loop.text.shown == "abcdef" * 18
    assert "108 of 124 sampled tokens are masked." in verdict(looped, [row])


def test_a_warning_to_the_model_stands_beside_the_result_and_hides_no_repeat() -> None:
    warned = _call(output="x" + TOOL_LOOP_WARNING)
    rows = turn_rows(_trajectory(_turn(0, _call()), _turn(1, warned)))
    (row,) = rows[1].calls
    assert (row.output.shown, row.same) == ("x", 2)
    assert row.warning.startswith("[This call has now returned")


def test_the_latency_bar_is_on_a_log_scale() -> None:
    (row,) = turn_rows(
        _trajectory(_turn(0, _call(seconds=0.0), _call(seconds=1.0), _call(seconds=900.0)))
    )
    assert [call.latency_px for call in row.calls] == [1, 30, 60]


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
    assert row.raw.shown == "<tool_call>{oops"
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
