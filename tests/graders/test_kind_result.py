"""The result object: the contract's JSON, and no score where there is none."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from test_kind_multi import check

from graders.kinds.base import ErrorCode, Grading, GradingError, Sample, TokenUsage
from graders.kinds.registry import load_grader
from graders.kinds.result import result_object

FIELDS = [
    "formula_parse_error",
    "sample_parse_error",
    "truncated_observation_error",
    "unresponsive_reward_error",
    "invalid_variable_error",
    "other_error",
    "python_grader_server_error",
    "python_grader_server_error_type",
    "python_grader_runtime_error",
    "python_grader_runtime_error_details",
    "model_grader_server_error",
    "model_grader_refusal_error",
    "model_grader_parse_error",
    "model_grader_server_error_details",
]
SPENT = TokenUsage(prompt_tokens=190, completion_tokens=134, total_tokens=324, cached_tokens=64)


def errors(grading: Grading) -> dict[str, Any]:
    found: dict[str, Any] = result_object(grading, {"type": "python"})["metadata"]["errors"]
    return found


def test_a_grading_is_told_in_the_words_of_the_contract() -> None:
    grading = Grading(
        reward=0.75, seconds=4.5, usage={"judge-1": SPENT}, sampled_model="judge-1-2026"
    )
    tokens = {
        "prompt_tokens": 190,
        "completion_tokens": 134,
        "total_tokens": 324,
        "cached_tokens": 64,
    }
    assert result_object(grading, {"type": "score_model", "name": "tone"}) == {
        "reward": 0.75,
        "sub_rewards": {},
        "model_grader_token_usage_per_model": {"judge-1": tokens},
        "metadata": {
            "name": "tone",
            "type": "score_model",
            "execution_time": 4.5,
            "scores": {},
            "token_usage": tokens,
            "sampled_model_name": "judge-1-2026",
            "errors": {
                name: None if name.endswith(("_type", "_details")) else False for name in FIELDS
            },
        },
    }


def test_there_are_fourteen_error_fields() -> None:
    assert len(FIELDS) == len(errors(Grading(reward=1.0))) == 14


@pytest.mark.parametrize("code", get_args(ErrorCode))
def test_each_code_raises_its_own_flag_and_no_other(code: ErrorCode) -> None:
    grading = Grading(reward=None, error=GradingError(code, "It broke.", type="timeout"))
    assert result_object(grading, {"type": "python"})["reward"] is None
    found = errors(grading)
    assert [key for key, value in found.items() if value is True] == [f"{code}_error"]
    told = {key: value for key, value in found.items() if type(value) is str}
    assert told == {
        "python_grader_server": {"python_grader_server_error_type": "timeout"},
        "python_grader_runtime": {"python_grader_runtime_error_details": "It broke."},
        "model_grader_server": {"model_grader_server_error_details": "It broke."},
    }.get(code, {})


def test_the_parts_of_a_multi_are_its_sub_rewards() -> None:
    spec = {
        "type": "multi",
        "graders": {"right": check("{{item.answer}}"), "never": check("something else")},
        "calculate_output": "0.75 * right + 0.25 * never",
    }
    grading = load_grader(spec).grade(Sample(output_text="4"), {"answer": "4"})
    result = result_object(grading, spec, name="sum v2")
    assert (result["reward"], result["sub_rewards"]) == (0.75, {"right": 1.0, "never": 0.0})
    assert result["metadata"]["scores"] == {"right": 1.0, "never": 0.0}
    assert result["metadata"]["name"] == "sum v2"
    assert result["metadata"]["token_usage"] is None


def test_a_grader_without_any_name_goes_by_its_type() -> None:
    assert result_object(Grading(reward=1.0), check("x"))["metadata"]["name"] == "string_check"
