"""budget: what was spent, as a part of the reward that everybody sees."""

from __future__ import annotations

import math
from typing import Any

import pytest
from test_kind_contract import KindContract

from graders.kinds.base import GraderSpecError, Sample, Spent
from graders.kinds.registry import load_grader, validate_spec

SPENT = Spent(completion_tokens=300, tool_calls=3, turns=4, reasoning_tokens=50)


class TestBudget(KindContract):
    spec = {"type": "budget", "measure": "completion_tokens", "free": 200, "limit": 600}
    sample = Sample(output_text="", usage=SPENT)
    reward = 0.75
    variables = {"sample.usage.completion_tokens"}
    wrong = {"limit": ("7", True, [], math.nan, -1, 200)}


@pytest.mark.parametrize(
    ("measure", "free", "limit", "reward"),
    [
        ("completion_tokens", 0, 600, 0.5),
        ("completion_tokens", 300, 301, 1.0),
        ("completion_tokens", 400, 500, 1.0),
        ("completion_tokens", 0, 300, 0.0),
        ("completion_tokens", 0, 100, 0.0),
        ("reasoning_tokens", 0, 200, 0.75),
        ("tool_calls", 2, 6, 0.75),
        ("turns", 0, 5, 0.2),
    ],
)
def test_the_reward_falls_in_a_line_from_free_to_limit(
    measure: str, free: float, limit: float, reward: float
) -> None:
    spec = {"type": "budget", "measure": measure, "free": free, "limit": limit}
    grading = load_grader(spec).grade(TestBudget.sample, {})
    assert grading.reward == pytest.approx(reward, abs=1e-12)


def test_what_nobody_counted_is_an_error_and_no_score() -> None:
    grading = load_grader(TestBudget.spec).grade(Sample(output_text="4"), {})
    assert grading.reward is None
    assert grading.error is not None
    assert grading.error.code == "invalid_variable"
    assert "{{sample.usage.completion_tokens}} is missing" in grading.error.message


def test_calls_are_counted_where_nobody_did() -> None:
    grader = load_grader({"type": "budget", "measure": "tool_calls", "limit": 4})
    assert grader.grade(Sample(output_text="", output_tools=[{}]), {}).reward == 0.75
    assert grader.variables() == frozenset()


def test_the_grading_says_what_was_spent() -> None:
    grading = load_grader(TestBudget.spec).grade(TestBudget.sample, {})
    assert grading.stdout == "300 completion tokens, free to 200, limit 600"


@pytest.mark.parametrize(
    ("keys", "param"),
    [({"measure": "tokens"}, "measure"), ({"free": -1}, "free"), ({"free": 700}, "limit")],
)
def test_a_budget_that_cannot_work_is_refused(keys: dict[str, Any], param: str) -> None:
    with pytest.raises(GraderSpecError) as refusal:
        validate_spec(TestBudget.spec | keys)
    assert refusal.value.param == param
