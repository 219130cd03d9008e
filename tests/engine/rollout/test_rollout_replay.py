"""Continuing a rollout: what it begins with, what it may call, and what is only replayed."""

from __future__ import annotations

import asyncio

import pytest

from jobs.engine.rollout.grading import make_sample
from jobs.engine.rollout.identity import Prefix, call_id, idempotency_key, trace_id, turn_seed
from jobs.engine.rollout.replay import NOT_RECORDED, ReplayExecutor, needed_the_record, record_of
from jobs.engine.types import StopReason, TokenKind, ToolCall, Trajectory, Turn
from tests.engine.rollout.continuing import TOOLS, InProcess, make_runner, request, says


def call(name, arguments="{}", output="done", status="ok"):
    return ToolCall(
        id=f"{name}{arguments}", name=name, arguments=arguments, output=output, status=status
    )


def wanted(name, arguments="{}"):
    return call(name, arguments, None, "pending")


def turns_of(*turns):
    return [Turn(index=i, start=i, end=i + 1, text="", calls=list(t)) for i, t in enumerate(turns)]


def member(*turns):
    return Trajectory(
        uid="u",
        row=0,
        group="0",
        sample=0,
        split="train",
        trace_id="t",
        ids=[],
        logprobs=[],
        entropies=[],
        kinds=[],
        turns=turns_of(*turns),
    )


def replay(calls, *, seen=(), before=()):
    """The calls of one turn after `before`; returns the names of those that were made."""
    tools = InProcess()
    executor = ReplayExecutor(tools, record_of(seen, TOOLS), turns_of(*before))
    offered = ["think", "look", "book", "gone"]
    asyncio.run(
        executor.execute(calls, trace_id="own", item={}, offered=offered, keys=["k"] * len(calls))
    )
    assert all(trace == "own" for trace, *_ in tools.made)
    return [name for _, name, *_ in tools.made]


def test_a_tool_without_side_effects_is_called():
    calls = [wanted("think"), wanted("look")]
    assert replay(calls) == ["think", "look"]
    assert [one.output for one in calls] == ["think: {}", "look: {}"]


def test_a_writing_call_is_answered_from_the_record_and_not_made():
    asked = wanted("book", '{"a": 1, "b": 2}')
    seen = member([call("book", '{"b":2,"a":1}', "no room", "tool_error")])
    assert replay([asked], seen=[seen]) == []
    assert (asked.status, asked.output, asked.attempts) == ("tool_error", "no room", 0)


def test_a_writing_call_that_is_not_in_the_record_ends_it_before_anything_is_called():
    calls = [wanted("think"), wanted("book", '{"a": 2}')]
    assert replay(calls, seen=[member([call("book", '{"a": 1}')])]) == []
    assert (calls[1].status, calls[1].error) == ("fault", NOT_RECORDED)
    assert needed_the_record(member(calls))


def test_answers_that_contradict_each_other_are_no_record():
    seen = [member([call("book", output="room 1")]), member([call("book", output="room 2")])]
    asked = wanted("book")
    replay([asked], seen=seen)
    assert asked.error == NOT_RECORDED


@pytest.mark.parametrize("status", ["fault", "pending", "malformed"])
def test_a_call_that_was_not_answered_is_no_record(status):
    asked = wanted("book")
    replay([asked], seen=[member([call("book", status=status)])])
    assert asked.error == NOT_RECORDED


@pytest.mark.parametrize("status", ["ok", "tool_error", "fault"])
def test_after_a_writing_call_reads_come_from_the_record_of_the_same_state(status):
    written = call("book", status=status)
    known = member([call("book")], [call("look", output="booked")])
    asked = wanted("look")
    assert replay([asked], seen=[known], before=[[written]]) == []
    assert asked.output == "booked"


def test_what_was_read_before_a_writing_call_says_nothing_of_after_it():
    asked = wanted("look")
    seen = member([call("look", output="free")], [call("book")])
    assert replay([asked], seen=[seen], before=[[call("book")]]) == []
    assert asked.error == NOT_RECORDED


def test_a_second_writing_call_is_another_state():
    seen = member([call("book")], [call("book", output="again")])
    first, second = wanted("book"), wanted("book")
    replay([first], seen=[seen])
    replay([second], seen=[seen], before=[[call("book")]])
    assert (first.output, second.output) == ("done", "again")


def test_a_replayed_writing_call_changes_the_state_of_what_follows():
    tools = InProcess()
    seen = member([call("book")], [call("look", output="booked")])
    executor = ReplayExecutor(tools, record_of([seen], TOOLS), [])
    asked = [wanted("book"), wanted("look")]
    for one in asked:
        given = {"trace_id": "own", "item": {}, "offered": ["look", "book"], "keys": ["k"]}
        asyncio.run(executor.execute([one], **given))
    assert ([one.output for one in asked], tools.made) == (["done", "booked"], [])


def test_a_read_beside_a_writing_call_is_replayed_from_beside_it():
    alone, beside = wanted("look"), wanted("look")
    together = member([call("book"), call("look", output="either")])
    replay([wanted("book"), beside], seen=[together])
    replay([wanted("book"), alone], seen=[member([call("look")], [call("book")])])
    assert (beside.output, alone.error) == ("either", NOT_RECORDED)


def test_tools_without_effects_are_called_after_a_writing_call_too():
    assert replay([wanted("think")], before=[[call("book")]]) == ["think"]


def test_a_malformed_writing_call_wrote_nothing():
    assert replay([wanted("look")], before=[[call("book", status="malformed")]]) == ["look"]


def test_a_tool_whose_effects_nobody_declared_is_not_tried_out():
    asked = wanted("gone")
    assert replay([asked]) == []
    assert asked.status == "malformed"


LINES = [says("think", q="a"), says("look", q="b"), "42"]


@pytest.fixture
def tokenizer(make_tokenizer):
    return make_tokenizer("qwen3")


def run(runner, *requests):
    return asyncio.run(runner.run(requests))


def parent_of(tokenizer, lines=LINES):
    return run(make_runner(tokenizer, lines)[0], request())[0]


def prefix_of(parent, turn, k=0):
    return Prefix(parent, turn, k, record_of([parent], TOOLS))


def test_a_continuation_begins_with_its_parents_tokens_which_are_not_sampled_again(tokenizer):
    parent = parent_of(tokenizer)
    parent.turns[0].score = 0.5
    prefix = prefix_of(parent, 1)
    runner, sampler, tools = make_runner(tokenizer, [*LINES[:1], "41"])
    (found,) = run(runner, request(prefix=prefix))
    cut, last = parent.turns[1].start, found.turns[-1]
    assert found.ids[:cut] == parent.ids[:cut] == list(sampler.requests[0].ids)
    assert (last.index, last.start, last.end, found.answer) == (1, cut, len(found.ids), "41")
    assert [int(TokenKind.PROMPT) if k == 1 else k for k in parent.kinds[:cut]] == found.kinds[:cut]
    assert found.sampled_tokens == len(found.ids) - cut
    assert found.logprobs[:cut] == found.entropies[:cut] == [0.0] * cut
    assert (found.stop, found.reward, tools.made) == (StopReason.FINAL_ANSWER, None, [])
    assert (found.turns[0].score, parent.turns[0].score) == (None, 0.5)


def test_a_continuation_is_graded_as_the_whole_rollout(tokenizer):
    (found,) = run(
        make_runner(tokenizer, LINES)[0], request(prefix=prefix_of(parent_of(tokenizer), 1))
    )
    sample = make_sample(found, None)
    assert [one["function"]["name"] for one in sample.output_tools] == ["think", "look"]
    assert sample.output_text == "42"


def test_each_continuation_has_names_and_seeds_of_its_own(tokenizer):
    parent = parent_of(tokenizer)
    requests = [request(prefix=prefix_of(parent, turn, k)) for turn in (0, 1) for k in (0, 1)]
    requests.append(request())
    runner, sampler, tools = make_runner(tokenizer, LINES)
    found = run(runner, *requests)
    assert [one.uid for one in found] == [
        "t-3-0-0-c0-0",
        "t-3-0-0-c0-1",
        "t-3-0-0-c1-0",
        "t-3-0-0-c1-1",
        "t-3-0-0",
    ]
    for name in (
        lambda one: trace_id("run", one),
        lambda one: call_id("run", one, 1, 0),
        lambda one: idempotency_key("run", one, 1, 0),
        lambda one: turn_seed(1, one, 1),
    ):
        assert len({name(one) for one in requests}) == 5
    assert len({one.seed for one in sampler.requests}) == len(sampler.requests)
    assert len({key for *_, key in tools.made}) == len(tools.made)
    assert {trace for trace, *_ in tools.made} == {one.trace_id for one in found}
    again, _, _ = make_runner(tokenizer, LINES)
    assert [one.trace_id for one in run(again, *requests)] == [one.trace_id for one in found]


def used(parent, turn):
    return prefix_of(parent, turn).sampled_tokens


@pytest.mark.parametrize(
    ("budget", "stop"),
    [
        (lambda _: {"max_turns": 2}, StopReason.TURN_LIMIT),
        (lambda _: {"max_tool_calls": 1}, StopReason.CALL_LIMIT),
        (lambda p: {"max_sampled_tokens": used(p, 1) + 9}, StopReason.TOKEN_LIMIT),
        (lambda p: {"max_total_tokens": p.turns[1].start + 9}, StopReason.CONTEXT_LIMIT),
    ],
)
def test_what_the_parent_used_counts_against_each_budget(tokenizer, budget, stop):
    parent = parent_of(tokenizer)
    runner, _, _ = make_runner(tokenizer, LINES, **budget(parent))
    (found,) = run(runner, request(prefix=prefix_of(parent, 1)))
    assert found.stop is stop
    assert found.sampled_tokens == 9 or stop in {StopReason.TURN_LIMIT, StopReason.CALL_LIMIT}


def test_a_tool_loop_goes_on_from_where_the_parent_was(tokenizer):
    same = says("look", q="same")
    parent = parent_of(tokenizer, [same, same, same, "42"])
    runner, _, tools = make_runner(tokenizer, [same] * 5)
    (found,) = run(runner, request(prefix=prefix_of(parent, 3)))
    assert (found.stop, len(tools.made)) == (StopReason.TOOL_LOOP, 1)


def test_a_continuation_never_makes_a_writing_call(tokenizer):
    parent = parent_of(tokenizer, [says("think"), says("book", room="1"), "42"])
    for room, stop, answer in (
        ("1", StopReason.FINAL_ANSWER, "42"),
        ("2", StopReason.TOOL_FAULT, ""),
    ):
        runner, _, tools = make_runner(tokenizer, [says("think"), says("book", room=room), "42"])
        (found,) = run(runner, request(prefix=prefix_of(parent, 1)))
        assert (found.stop, found.answer, tools.made) == (stop, answer, [])
    assert found.cause == f"tool book: {NOT_RECORDED}"
