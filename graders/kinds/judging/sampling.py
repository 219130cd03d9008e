"""The `sampling_params` of a judge, in the contract's words and in those of the chat API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graders.kinds.base import did_you_mean
from graders.kinds.spec import SpecReader

EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh")
NAMES = {
    "seed": "seed",
    "top_p": "top_p",
    "temperature": "temperature",
    "max_completions_tokens": "max_completion_tokens",
    "max_completion_tokens": "max_completion_tokens",
    "reasoning_effort": "reasoning_effort",
}
"""The contract's key is `max_completions_tokens`; the usual spelling is taken, too."""


def read_sampling(spec: SpecReader, key: str = "sampling_params") -> dict[str, Any]:
    """What the chat API is told; raises GraderSpecError with the place."""
    if not spec.has(key):
        return {}
    given = spec.value(key)
    if not isinstance(given, Mapping):
        raise spec.refuse(key, "It is no object.")
    told: dict[str, Any] = {}
    for name, value in given.items():
        place = f"{key}.{str(name)[:60]}"
        if name not in NAMES:
            raise spec.refuse(
                place, f"There are {', '.join(NAMES)}.{did_you_mean(str(name), NAMES)}"
            )
        if value is None:
            continue
        if (problem := _problem(name, value)) is not None:
            raise spec.refuse(place, problem)
        told[NAMES[name]] = value
    return told


def _problem(name: str, value: Any) -> str | None:
    if name == "reasoning_effort":
        return None if value in EFFORTS else f"It is none of {', '.join(EFFORTS)}."
    if name == "temperature":
        return None if _between(value, 0, 2) else "It is no number from 0 to 2."
    if name == "top_p":
        return None if _between(value, 0, 1) else "It is no number from 0 to 1."
    if name == "seed":
        return None if type(value) is int and abs(value) < 2**63 else "It is no whole number."
    at_least = type(value) is int and 1 <= value <= 10**7
    return None if at_least else "It is no whole number from 1 on."


def _between(value: Any, low: float, high: float) -> bool:
    return type(value) in {int, float} and low <= value <= high
