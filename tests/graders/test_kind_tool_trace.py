"""tool_trace: called, not called, how often, in which order, and with which arguments."""

from __future__ import annotations

from typing import Any

import pytest
from test_kind_contract import KindContract

from graders.kinds.base import GraderSpecError, Grading, Sample
from graders.kinds.registry import load_grader, validate_spec


def call(name: str, arguments: str = "{}", status: str = "ok") -> dict[str, Any]:
    function = {"name": name, "arguments": arguments}
    return {"id": "c", "type": "function", "function": function, "output": "x", "status": status}


CALLS = [
    call("search", '{"query": "order 7", "limit": 3}'),
    call("search", '{"query": "order 8", "limit": 3}', status="tool_error"),
    call("refund", '{"order": {"id": 7, "lines": [1, 2]}, "now": true}'),
]
ITEM = {"order": 7}


def graded(*checks: dict[str, Any], calls: list[Any] = CALLS, **keys: Any) -> Grading:
    spec = {"type": "tool_trace", "checks": list(checks), **keys}
    return load_grader(spec).grade(Sample(output_text="", output_tools=calls), ITEM)


class TestToolTrace(KindContract):
    spec = {
        "type": "tool_trace",
        "checks": [
            {"called": "search", "with": {"query": "order {{item.order}}"}},
            {"not_called": "delete"},
        ],
    }
    sample = Sample(output_text="", output_tools=CALLS)
    item = ITEM
    reward = 1.0
    variables = {"item.order"}


@pytest.mark.parametrize(
    ("check", "holds"),
    [
        ({"called": "search"}, True),
        ({"called": "answer"}, False),
        ({"called": "search", "at_least": 2}, True),
        ({"called": "search", "at_least": 3}, False),
        ({"called": "search", "at_most": 1}, False),
        ({"called": "refund", "at_most": 1}, True),
        ({"not_called": "answer"}, True),
        ({"not_called": "search"}, False),
        ({"not_called": "search", "with": {"query": "order 9"}}, True),
        ({"not_called": "search", "with": {"query": "order 8"}}, False),
        ({"order": ["search", "refund"]}, True),
        ({"order": ["search", "search", "refund"]}, True),
        ({"order": ["refund", "search"]}, False),
        ({"order": ["search", "search", "search"]}, False),
        ({"exactly": ["search", "search", "refund"]}, True),
        ({"exactly": ["search", "refund"]}, False),
        ({"exactly": []}, False),
        ({"calls": {"at_most": 3}}, True),
        ({"calls": {"at_most": 2}}, False),
        ({"calls": {"at_least": 4}}, False),
    ],
)
def test_each_check_holds_or_not(check: dict[str, Any], holds: bool) -> None:
    assert graded(check).reward == float(holds)


@pytest.mark.parametrize(
    ("arguments", "holds"),
    [
        ({}, True),
        ({"now": True}, True),
        ({"now": 1}, False),
        ({"now": "true"}, True),
        ({"order": {"id": 7}}, True),
        ({"order": {"id": 7.0}}, True),
        ({"order": {"id": "{{item.order}}"}}, True),
        ({"order": {"id": "8"}}, False),
        ({"order": {"lines": [1, 2]}}, True),
        ({"order": {"lines": [1]}}, False),
        ({"order": 7}, False),
        ({"other": None}, False),
    ],
)
def test_only_the_arguments_that_are_named_are_compared(
    arguments: dict[str, Any], holds: bool
) -> None:
    assert graded({"called": "refund", "with": arguments}).reward == float(holds)


def test_calls_that_failed_can_be_left_out() -> None:
    check = {"called": "search", "at_least": 2}
    assert graded(check, only_successful=True).reward == 0.0
    assert graded({"called": "search"}, only_successful=True).reward == 1.0


def test_the_checks_are_the_parts_and_all_have_to_hold() -> None:
    checks: list[dict[str, Any]] = [
        {"called": "search", "with": {"limit": 3}},
        {"not_called": "refund"},
        {"order": ["search", "refund"]},
        {"exactly": []},
        {"calls": {"at_most": 9}, "name": "brief"},
    ]
    grading = graded(*checks)
    assert (grading.reward, grading.parts) == (
        0.0,
        {
            "called search as wanted": 1.0,
            "not called refund": 0.0,
            "order search > refund": 1.0,
            "exactly no calls": 0.0,
            "brief": 1.0,
        },
    )
    assert graded(*checks, partial=True).reward == pytest.approx(3 / 5)


def test_arguments_that_are_no_json_object_are_as_no_others() -> None:
    for arguments in ("", "[1]", "{", '{"a": 1, "a": 1}'):
        wrong = [call("search", arguments)]
        assert graded({"called": "search"}, calls=wrong).reward == 1.0
        assert graded({"called": "search", "with": {}}, calls=wrong).reward == 0.0


def test_on_a_turn_its_own_calls_are_checked_alone() -> None:
    earlier = [{"output_text": "", "output_tools": CALLS[:2]}]
    turn = {"index": 2, "count": 3, "earlier": earlier}
    sample = Sample(output_text="", output_tools=CALLS[2:], turn=turn)
    grader = load_grader({"type": "tool_trace", "checks": [{"called": "search"}]})
    assert grader.grade(sample, {}).reward == 0.0


@pytest.mark.parametrize(
    ("checks", "param", "said"),
    [
        ([], "checks", "0 checks"),
        (["search"], "checks[0]", "A check is an object"),
        ([{}], "checks[0]", "this one has 0"),
        ([{"called": "a", "order": []}], "checks[0]", "this one has 2"),
        ([{"called": "a"}, {"called": "b", "wiht": {}}], "checks[1].wiht", "Did you mean `with`"),
        ([{"called": 3}], "checks[0].called", "Write a name"),
        ([{"called": "a", "at_least": -1}], "checks[0].at_least", "whole number"),
        ([{"called": "a", "at_least": True}], "checks[0].at_least", "whole number"),
        ([{"called": "a", "at_most": 0}], "checks[0].at_most", "less than the 1"),
        ([{"called": "a", "with": []}], "checks[0].with", "Write the arguments"),
        ([{"called": "a", "with": {"b": "{{it"}}], "checks[0].with.b", "does not close"),
        ([{"called": "a", "with": {"b": ["{{no.x}}"]}}], "checks[0].with.b[0]", "neither"),
        ([{"order": "a"}], "checks[0].order", "list of tools"),
        ([{"calls": 3}], "checks[0].calls", "Say how many"),
        ([{"calls": {"most": 3}}], "checks[0].calls", "Say how many"),
        ([{"called": "a"}, {"called": "a"}], "checks[1].name", "the name of two checks"),
    ],
)
def test_a_check_that_cannot_work_is_refused_by_place(
    checks: list[Any], param: str, said: str
) -> None:
    with pytest.raises(GraderSpecError, match=said) as refusal:
        validate_spec({"type": "tool_trace", "checks": checks})
    assert refusal.value.param == param
