"""A group as a prefix tree and where it parted: by hand, on the story of the reference."""

from __future__ import annotations

from typing import Any

import pytest

from jobs.engine.types import ToolCall, Trajectory, Turn
from jobs.selectors.tries import (
    Node,
    common_turns,
    first_divergence,
    nodes_of,
    permutation_p,
    trie,
    variance_explained,
)

LOOKUP, SEARCH, REFUND = ("lookup", "delivered"), ("search", "30 days"), ("refund", "done")


def _attempt(*done: Any, ids: list[int] | None = None) -> Trajectory:
    """Calls as (tool, result), an answer as its text; each turn samples one token."""
    turns = []
    for at, what in enumerate(done):
        turn = Turn(index=at, start=at, end=at + 1, text="…")
        if isinstance(what, tuple):
            turn.calls = [
                ToolCall(id="c", name=what[0], arguments='{"id": 5}', output=what[1], status="ok")
            ]
        else:
            turn.content = what
        turns.append(turn)
    tokens = ids or list(range(len(turns)))
    zeros = [0.0] * len(tokens)
    return Trajectory(
        uid="t", row=0, group="g", sample=0, split="train", trace_id="t", ids=tokens,
        logprobs=zeros, entropies=zeros, kinds=[1] * len(tokens), turns=turns,
    )  # fmt: skip


STORY = [
    _attempt(LOOKUP, SEARCH, REFUND, "done"),
    _attempt(LOOKUP, SEARCH, REFUND, "done"),
    _attempt(LOOKUP, SEARCH, REFUND, LOOKUP, "done"),
    _attempt(LOOKUP, SEARCH, "no"),
    _attempt(LOOKUP, REFUND, "done"),
    _attempt(LOOKUP, REFUND, "done"),
    _attempt(LOOKUP, REFUND, "done"),
    _attempt(LOOKUP, LOOKUP),
]
REWARDS = [1.0, 1.0, 1.0, 0.4, 0.0, 0.0, 0.0, None]


def _shape(node: Node) -> Any:
    return (node.labels, len(node.members), [_shape(child) for child in node.children])


def test_equal_actions_share_a_node_and_runs_without_a_branch_are_one() -> None:
    root = trie(STORY)
    (first,) = root.children
    assert (first.labels, len(first.members)) == (("lookup(5)",), 8)
    assert [_shape(child) for child in first.children] == [
        (
            ("search(5)",),
            4,
            [
                (
                    ("refund(5)",),
                    3,
                    [(("answer",), 2, []), (("lookup(5)", "answer"), 1, [])],
                ),
                (("answer",), 1, []),
            ],
        ),
        (("refund(5)", "answer"), 3, []),
        (("lookup(5)",), 1, []),
    ]


def test_another_result_of_the_same_call_is_another_node() -> None:
    root = trie([_attempt(LOOKUP, "a"), _attempt(("lookup", "lost"), "a")])
    assert [child.members for child in root.children] == [[0], [1]]


def test_the_spelling_of_arguments_makes_no_difference() -> None:
    one, other = _attempt(LOOKUP), _attempt(LOOKUP)
    other.turns[0].calls[0].arguments = '{ "id":5 }'
    assert [child.members for child in trie([one, other]).children] == [[0, 1]]


def test_merged_by_tokens_the_first_other_token_parts_them() -> None:
    root = trie([_attempt(LOOKUP, "a", ids=[1, 2]), _attempt(LOOKUP, "a", ids=[1, 3])], "tokens")
    assert [(node.first, node.members) for node in nodes_of(root)] == [
        (-1, [0, 1]),
        (0, [0, 1]),
        (1, [0]),
        (1, [1]),
    ]


def test_the_story_parts_at_search_before_refund() -> None:
    found = first_divergence(trie(STORY), REWARDS)
    assert found is not None
    assert found.node.labels == ("lookup(5)",)
    assert found.graded == 7
    assert found.explained == pytest.approx(1.238571 / 1.508571, abs=1e-6)
    assert found.is_exact
    assert found.p == pytest.approx(2 / 35)


def test_variance_explained_is_that_between_the_branches() -> None:
    assert variance_explained([[1.0, 1.0], [0.0, 0.0]]) == pytest.approx(1.0)
    assert variance_explained([[1.0, 0.0], [1.0, 0.0]]) == pytest.approx(0.0)
    assert variance_explained([[1.0, 0.0], [0.0, 0.0]]) == pytest.approx(1 / 3)
    assert variance_explained([[0.3, 0.3], [0.3]]) == 0.0


def test_the_permutation_test_counts_all_ways_to_deal() -> None:
    assert permutation_p([[1.0, 1.0], [0.0, 0.0]]) == (pytest.approx(2 / 6), True)
    assert permutation_p([[1.0] * 4, [0.0] * 4]) == (pytest.approx(2 / 70), True)
    assert permutation_p([[1.0, 0.0], [1.0, 0.0]]) == (1.0, True)
    assert permutation_p([[1.0, 1.0], [0.0, 0.0], [0.5]])[0] == pytest.approx(2 / 30)


def test_what_is_too_much_to_count_is_drawn_the_same_each_time() -> None:
    rewards = [at / 24 for at in range(24)]
    branches = [rewards[:8], rewards[8:16], rewards[16:]]
    assert permutation_p(branches) == (1 / 20_001, False)


def test_a_split_by_chance_or_of_single_attempts_is_no_divergence() -> None:
    four = [_attempt(LOOKUP, "a"), _attempt(LOOKUP, "a"), _attempt(SEARCH, "a")]
    four.append(_attempt(SEARCH, "a"))
    assert first_divergence(trie(four), [1.0, 1.0, 0.0, 0.0]) is None, "p is a third"
    assert first_divergence(trie(STORY[3:5]), [0.4, 0.0]) is None
    assert first_divergence(trie(STORY), [None] * 8) is None
    assert first_divergence(trie(STORY), [1.0] * 8) is None


def test_to_stop_is_a_branch_too() -> None:
    stopped = [_attempt(LOOKUP) for _ in range(4)]
    went_on = [_attempt(LOOKUP, SEARCH, "a") for _ in range(4)]
    found = first_divergence(trie([*stopped, *went_on]), [0.0] * 4 + [1.0] * 4)
    assert found is not None
    assert (found.node.labels, found.p) == (("lookup(5)",), pytest.approx(2 / 70))


def test_two_attempts_are_aligned_at_the_last_common_turn() -> None:
    root = trie(STORY)
    assert common_turns(root, 0, 1) == 4
    assert common_turns(root, 0, 2) == 3
    assert common_turns(root, 0, 4) == 1
    assert common_turns(root, 4, 5) == 3
