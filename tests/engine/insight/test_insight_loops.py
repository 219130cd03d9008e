"""What repeated, what it earned and how long rollouts ran on."""

from __future__ import annotations

from jobs.engine.insight.loops import (
    MOST_SHOWN,
    loop_insight,
    repeat_of,
    token_period,
    tokens_by_quartile,
)
from jobs.engine.types import StopReason


def stuck(make_trajectory, make_call, uid, arguments='{"id": 1}', stop=StopReason.TOOL_LOOP, n=4):
    return make_trajectory(uid, 0.0, stop, [make_call(arguments=arguments) for _ in range(n)])


def test_a_tool_loop_names_the_call_that_was_repeated(make_trajectory, make_call):
    calls = [make_call("read", '{"b": 1, "a": 2}') for _ in range(3)]
    again = make_call("read", '{"a":2,"b":1}', None, "pending")
    other = make_call("search")
    found = repeat_of(make_trajectory("a", 0.0, StopReason.TOOL_LOOP, [other, *calls, again]))
    assert (found.kind, found.tool, found.text, found.times) == (
        "tool_loop",
        "read",
        '{"a":2,"b":1}',
        4,
    )


def test_a_token_loop_has_a_period_and_is_the_same_wherever_it_was_cut(make_trajectory):
    def looped(ids):
        one = make_trajectory("a", 0.0, StopReason.TOKEN_LOOP, tokens=len(ids))
        one.ids[1:] = ids
        one.turns[-1].text = "xy" * (len(ids) // 2)
        return repeat_of(one)

    left, right = looped([9, 1, 2, 1, 2, 1, 2]), looped([9, 2, 1, 2, 1, 2, 1])
    assert (left.kind, left.times) == ("token_loop", 3)
    assert left.key == right.key
    assert looped([9, 1, 3, 1, 3, 1, 3]).key != left.key
    assert token_period([1, 2, 3]) is None
    assert token_period([5, 5]) == 1


def test_what_loops_earned_is_told_by_kind(make_trajectory, make_call):
    stopped = stuck(make_trajectory, make_call, "a")
    stopped.trained, stopped.advantage = True, -0.5
    went_on = stuck(make_trajectory, make_call, "b", stop=StopReason.FINAL_ANSWER, n=3)
    went_on.reward = 1.0
    fine = make_trajectory("c", 1.0, calls=[make_call()])
    lost = stuck(make_trajectory, make_call, "d", stop=StopReason.TOOL_FAULT)
    found = loop_insight([stopped, went_on, fine, lost])
    assert found["n"] == 3
    assert found["kinds"] == {"repeated": 1, "tool_loop": 1}
    assert found["earned"]["tool_loop"] == {
        "n": 1, "graded": 1, "reward": 0.0, "trained": 1, "advantage": -0.5, "tokens": 2,
    }  # fmt: skip
    assert found["earned"]["repeated"]["reward"] == 1.0
    assert (found["tokens"], found["limit_tokens"], found["limited"]) == (6, 2, 1)
    assert found["calls"] == {"p50": 3, "p95": 3.9, "max": 4}


def test_the_gallery_joins_the_same_repeat_and_counts_what_it_leaves_out(
    make_trajectory, make_call
):
    many = [
        stuck(make_trajectory, make_call, f"r{at}", f'{{"id": {at}}}')
        for at in range(MOST_SHOWN + 3)
    ]
    again = [stuck(make_trajectory, make_call, f"s{at}", '{"id": 3}') for at in range(4)]
    found = loop_insight([*many, *again])
    assert (len(found["gallery"]), found["gallery_rest"]) == (MOST_SHOWN, 3)
    first = found["gallery"][0]
    assert (first["tool"], first["text"], first["n"]) == ("search", '{"id":3}', 5)
    assert first["uids"] == ["r3", "s0", "s1"]


def test_tokens_by_quartile_do_not_depend_on_the_order_of_equal_rewards(make_trajectory):
    def batch(*pairs):
        return [make_trajectory(str(at), r, tokens=n) for at, (r, n) in enumerate(pairs)]

    pairs = [(0.0, 10), (0.0, 20), (0.0, 30), (1.0, 4), (1.0, 6)]
    assert tokens_by_quartile(batch(*pairs)) == tokens_by_quartile(batch(*pairs[::-1]))
    assert tokens_by_quartile(batch((0.0, 8), (0.2, 6), (0.4, 4), (0.9, 2))) == [8, 6, 4, 2]
    assert tokens_by_quartile(batch(*[(1.0, 5)] * 8)) is None
    assert tokens_by_quartile(batch((0.0, 1), (1.0, 1))) is None


def test_the_longest_rollouts_come_first(make_trajectory):
    found = loop_insight([make_trajectory(f"r{n}", 1.0, tokens=n) for n in range(1, 9)])
    assert [each["tokens"] for each in found["longest"]] == [8, 7, 6, 5, 4]
    assert found["longest"][0]["repeated"] == ""
