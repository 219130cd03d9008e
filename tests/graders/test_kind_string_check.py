"""string_check."""

from __future__ import annotations

from typing import Any

import pytest
from test_kind_contract import KindContract

from graders.kinds.base import GraderSpecError, Sample
from graders.kinds.registry import load_grader, validate_spec


class TestStringCheck(KindContract):
    spec = {
        "type": "string_check",
        "input": "{{sample.output_text}}",
        "reference": "{{ item.answer }}",
        "operation": "eq",
    }
    reward = 1.0


@pytest.mark.parametrize(
    ("operation", "text", "reference", "reward"),
    [
        ("eq", "Paris", "Paris", 1.0),
        ("eq", "Paris", "paris", 0.0),
        ("eq", "Paris ", "Paris", 0.0),
        ("ne", "Paris", "paris", 1.0),
        ("ne", "Paris", "Paris", 0.0),
        ("neq", "Paris", "Rome", 1.0),
        ("like", "It is Paris.", "Paris", 1.0),
        ("like", "It is Paris.", "paris", 0.0),
        ("like", "Paris", "It is Paris.", 0.0),
        ("ilike", "It is PARIS.", "paris", 1.0),
        ("ilike", "It is Rome.", "paris", 0.0),
        ("ilike", "STRASSE", "straße", 1.0),
    ],
)
def test_the_operations(operation: str, text: str, reference: str, reward: float) -> None:
    spec: dict[str, Any] = {
        "type": "string_check",
        "input": "{{sample.output_text}}",
        "reference": reference,
        "operation": operation,
    }
    assert load_grader(spec).grade(Sample(output_text=text), {}).reward == reward


def test_an_unknown_operation_is_told_the_close_one() -> None:
    with pytest.raises(GraderSpecError, match="Did you mean `ilike`") as refusal:
        validate_spec(TestStringCheck.spec | {"operation": "ilke"})
    assert refusal.value.param == "operation"
