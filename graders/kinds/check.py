"""Live checks: which variables of a grader a dataset row does not have."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from graders.kinds.registry import load_grader
from graders.kinds.templates import MissingVariable, look_up, parse_path


def missing_variables(spec: Mapping[str, Any], item: Mapping[str, Any]) -> list[str]:
    """The `item.…` variables of `spec` that `item` lacks, sorted; raises GraderSpecError."""
    return missing_in(load_grader(spec).variables(), item)


def missing_in(variables: Iterable[str], item: Mapping[str, Any]) -> list[str]:
    """The same for many rows: take `grader.variables()` once and ask for each row."""
    return [variable for variable in sorted(variables) if _is_missing(variable, item)]


def _is_missing(variable: str, item: Mapping[str, Any]) -> bool:
    path = parse_path(variable)
    if path[0] != "item":
        return False
    try:
        look_up(variable, path, {"item": item})
    except MissingVariable:
        return True
    return False
