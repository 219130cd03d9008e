"""What a step's credit says of tools and turns, against two small groups worked out by hand."""

from __future__ import annotations

import pytest

from jobs.engine.credit.anchored import Coverage
from jobs.engine.credit.assign import CreditReport
from jobs.engine.credit.groups import Group
from jobs.engine.insight.credit import EXAMPLES, MOST_TOOLS, credit_insight, measured_mean
from jobs.engine.insight.sums import clustered_mean
from jobs.engine.types import Attribution, Measured, ToolCall, Trajectory, Turn

OPEN = Coverage(turns=1, anchored=1, share=1.0, explained=0.5, evidence=1.0, weight=1.0, reason="")


def call(name, arguments="{}", status="ok"):
    return ToolCall(id="c", name=name, arguments=arguments, output="out", status=status,
                    attempts=1, seconds=0.1)  # fmt: skip


def rollout(uid, reward, turns, *, group="g", trained=True):
    """`turns`: its calls, and the terms of its credit. Three tokens a turn, behind one prompt."""
    made = [
        Turn(index=at, start=1 + 3 * at, end=4 + 3 * at, text="", content="said", calls=calls)
        for at, (calls, _) in enumerate(turns)
    ]
    size = 1 + 3 * len(turns)
    credit = [
        Attribution(turn=at, tool_call_id=None, n=2, **terms) for at, (_, terms) in enumerate(turns)
    ]
    return Trajectory(
        uid=uid, row=0, group=group, sample=0, split="train", trace_id="t", ids=[1] * size,
        logprobs=[0.0] * size, entropies=[0.0] * size, kinds=[0] + [1] * (size - 1), turns=made,
        reward=reward, stop="final_answer", advantage=0.5, trained=trained,
        attribution=credit if trained else [],
    )  # fmt: skip


def insight(*groups, coverage=OPEN, tools=("search", "read")):
    made = [Group(id=str(at), members=tuple(members)) for at, members in enumerate(groups)]
    return credit_insight(made, CreditReport({}, coverage), tools)


@pytest.fixture
def pair():
    """One searched and was right; the other answered at once and was wrong."""
    return [
        rollout("a", 1.0, [([call("search")], {"episode": 0.5, "step": 0.2}),
                           ([], {"episode": 0.5})]),
        rollout("b", 0.0, [([], {"episode": -0.5, "step": -0.2})]),
    ]  # fmt: skip


def test_a_tools_advantage_is_that_of_the_turns_that_called_it(pair):
    tools = insight(pair)["tools"]
    assert tools["search"]["calls"] == 1
    assert clustered_mean(tools["search"]["advantage"])[0] == pytest.approx(0.7)
    assert tools["search"]["parts"]["step"] == pytest.approx(0.2)
    assert tools["(final answer)"]["calls"] == 2
    assert clustered_mean(tools["(final answer)"]["advantage"])[0] == pytest.approx(-0.1)


def test_association_compares_attempts_of_the_same_group_only(pair):
    alone = [rollout("c", 0.4, [([call("search")], {"episode": 0.0})], group="h")]
    tools = insight(pair, alone)["tools"]
    assert (tools["search"]["association"]["n"], tools["search"]["association"]["sum"]) == (1, 1.0)
    assert tools["(final answer)"]["association"] == {}


def test_a_turn_has_evidence_where_siblings_chose_differently(pair):
    found = insight(pair)
    # Both began in the same state and did different things there; nobody else saw the result.
    assert (found["turns"], found["own_turns"]) == (3, 2)
    assert (found["tokens"], found["own_tokens"]) == (9, 6)
    assert insight(pair, coverage=None)["own_turns"] == 0


def test_where_all_did_the_same_there_is_no_evidence():
    same = [
        rollout(uid, reward, [([call("search")], {"episode": 0.1, "step": 0.1})])
        for uid, reward in (("a", 1.0), ("b", 0.0))
    ]
    assert insight(same)["own_turns"] == 0


def test_a_score_or_continuations_are_evidence_without_siblings():
    one = rollout("a", 1.0, [([call("read")], {"episode": 0.1, "process": 0.2}),
                             ([call("read")], {"episode": 0.1, "counterfactual": -0.1}),
                             ([], {"episode": 0.1})])  # fmt: skip
    assert insight([one], coverage=None)["own_turns"] == 2


def test_the_weight_of_a_part_is_its_size_times_the_trained_tokens(pair):
    assert insight(pair)["weight"] == pytest.approx(
        {"episode": 4.5, "step": 1.2, "process": 0.0, "counterfactual": 0.0}
    )


def test_measured_turns_stand_apart_with_an_interval_of_their_own(pair):
    pair[0].turns[0].measured = Measured(delta=0.4, n=8, interval=(0.1, 0.7))
    tools = insight(pair)["tools"]
    assert measured_mean(tools["search"]["measured"]) == (pytest.approx(0.4), pytest.approx(0.3))
    assert measured_mean(tools["(final answer)"]["measured"]) == (None, None)


def test_turns_are_counted_by_place(pair):
    places = insight(pair)["places"]
    assert places["0"] == {"n": 2, "sum": pytest.approx(0.0), "own": 2}
    assert places["1"] == {"n": 1, "sum": pytest.approx(0.5), "own": 0}


def test_the_turns_that_earned_and_cost_most_are_one_a_rollout(pair):
    found = insight(pair)
    assert [(each["uid"], each["turn"], each["tool"]) for each in found["most"]] == [
        ("a", 0, "search")
    ]
    assert [(each["uid"], each["advantage"]) for each in found["least"]] == [("b", -0.7)]
    many = [rollout(f"r{at:02}", 1.0, [([], {"episode": at, "process": 0.1})]) for at in range(30)]
    many.append(rollout("z", 1.0, [([], {"episode": 99.0})]))
    assert [each["uid"] for each in insight(many, coverage=None)["most"]] == [
        f"r{at}" for at in range(29, 29 - EXAMPLES, -1)
    ]


def test_no_turn_stands_out_where_all_only_repeat_their_episode(pair):
    found = insight(pair, coverage=None)
    assert (found["most"], found["least"]) == ([], [])


def test_what_is_stored_stays_bounded_with_many_tools():
    names = [f"tool{at:03}" for at in range(MOST_TOOLS + 30)]
    many = [
        rollout(name, 1.0, [([call(name)], {"episode": 0.1}), ([], {"episode": 0.1})])
        for name in names
    ]
    tools = insight(many, tools=names)["tools"]
    assert len(tools) == MOST_TOOLS + 1
    assert tools["(other tools)"]["calls"] == 31
    assert "(final answer)" in tools


def test_calls_of_names_that_the_model_made_up_count_together():
    one = rollout("a", 1.0, [([call(name)], {"episode": 0.1}) for name in ("x", "y")])
    assert insight([one])["tools"]["(unknown)"]["calls"] == 2


def test_an_untrained_rollout_counts_its_calls_and_no_advantage():
    tools = insight(
        [rollout("a", 1.0, [([call("read", status="fault")], {"episode": 0.0})], trained=False)]
    )
    assert tools["tools"]["read"]["faults"] == 1
    assert tools["tools"]["read"]["advantage"] == {}
    assert tools["turns"] == 0
