"""The result object of the contract (section 4.9), with its fourteen error fields."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

import msgspec

from graders.kinds.base import ErrorCode, Grading, TokenUsage

DETAILS: Mapping[ErrorCode, str] = {
    "python_grader_runtime": "python_grader_runtime_error_details",
    "model_grader_server": "model_grader_server_error_details",
}
"""Codes whose sentence has a field of its own in the contract."""


def result_object(
    grading: Grading, spec: Mapping[str, Any], *, name: str | None = None
) -> dict[str, Any]:
    """`grading` of the grader `spec` as JSON. A failed grading has the reward null, never 0.

    `scores` is every number that was measured on the way; `sub_rewards` those of the graders of a
    multi. `name` stands in where the spec has none.
    """
    total = sum(grading.usage.values(), TokenUsage()) if grading.usage else None
    return {
        "reward": grading.reward,
        "sub_rewards": dict(grading.parts) if spec.get("type") == "multi" else {},
        "model_grader_token_usage_per_model": msgspec.to_builtins(grading.usage),
        "metadata": {
            "name": spec.get("name") or name or spec.get("type"),
            "type": spec.get("type"),
            "execution_time": grading.seconds,
            "scores": dict(grading.parts),
            "token_usage": msgspec.to_builtins(total),
            "sampled_model_name": grading.sampled_model,
            "errors": _errors(grading),
        },
    }


def _errors(grading: Grading) -> dict[str, Any]:
    """Fourteen fields: a boolean for each code, and what is known of three of them."""
    error = grading.error
    code = error.code if error is not None else None
    fields: dict[str, Any] = {f"{each}_error": each == code for each in get_args(ErrorCode)}
    fields["python_grader_server_error_type"] = None
    fields |= dict.fromkeys(DETAILS.values())
    if error is not None and error.code == "python_grader_server":
        fields["python_grader_server_error_type"] = error.type or None
    if error is not None and error.code in DETAILS:
        fields[DETAILS[error.code]] = error.message
    return fields
