"""The calls of a sample, read without trust: a model or a person wrote them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from graders.kinds.base import Sample
from graders.kinds.values import NotJson, read_json


@dataclass(frozen=True)
class Call:
    """One call; `arguments` is None where they are no JSON object."""

    name: str
    arguments: Mapping[str, Any] | None
    ok: bool
    """Whether it is not known to have failed."""


def calls_of(sample: Sample) -> list[Call]:
    """All calls in order; what names no tool is none."""
    return [call for each in sample.output_tools if (call := _call(each)) is not None]


def _call(each: Any) -> Call | None:
    if not isinstance(each, Mapping):
        return None
    function = each.get("function")
    said = function if isinstance(function, Mapping) else each
    name = said.get("name")
    if not isinstance(name, str):
        return None
    return Call(name, _arguments(said.get("arguments")), each.get("status", "ok") == "ok")


def _arguments(value: Any) -> Mapping[str, Any] | None:
    if isinstance(value, str):
        try:
            value = read_json(value)
        except NotJson:
            return None
    return value if isinstance(value, Mapping) else None
