"""Live checks: what a grader reads, and which of it a dataset row does not have."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from graders.kinds.templates import MissingVariable, look_up, parse_path


def missing_in(variables: Iterable[str], item: Mapping[str, Any]) -> list[str]:
    """The `item.…` variables among these that `item` lacks, sorted."""
    return [variable for variable in sorted(variables) if _is_missing(variable, item)]


def reading(variables: Iterable[str], *start: str) -> list[str]:
    """The variables among these that begin with `start`, as `"sample", "output_json"`, sorted."""
    return [each for each in sorted(variables) if parse_path(each)[: len(start)] == start]


def _is_missing(variable: str, item: Mapping[str, Any]) -> bool:
    path = parse_path(variable)
    if path[0] != "item":
        return False
    try:
        look_up(variable, path, {"item": item})
    except MissingVariable:
        return True
    return False
