"""Specs and other JSON from outside, checked before anything is stored or run."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any, NoReturn

from graders.errors import InvalidSpec
from graders.kinds.base import GraderSpecError
from graders.kinds.registry import validate_spec
from hone.core import text
from hone.core.errors import UserError

SPEC_BYTES = 1_000_000
DEEPEST = 40
LARGEST_NUMBER = 1e300


def spec_from_text(source: str) -> dict[str, Any]:
    """The spec that a person wrote as JSON, checked; raises UserError at the field `spec`."""
    spec = object_from_text(source, field="spec")
    spec_check(spec)
    return spec


def spec_check(spec: Mapping[str, Any]) -> None:
    """Raises UserError where `spec` cannot be stored or cannot work."""
    json_check(spec, field="spec")
    size = len(json.dumps(spec, ensure_ascii=False).encode())
    if size > SPEC_BYTES:
        raise UserError(
            f"The grader has {size} bytes; at most {SPEC_BYTES} are kept. Shorten it.",
            code="too_long",
            field="spec",
        )
    try:
        validate_spec(spec)
    except GraderSpecError as error:
        raise InvalidSpec(error) from error


def spec_hash(spec: Mapping[str, Any]) -> str:
    """The SHA-256 of the spec, whatever the order of its keys."""
    canonical = json.dumps(spec, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def object_from_text(source: str, *, field: str) -> dict[str, Any]:
    """The JSON object in `source`; raises UserError with the line, or with what cannot be kept."""
    try:
        value = json.loads(
            source, object_pairs_hook=_without_doubles, parse_constant=_refuse_constant
        )
    except json.JSONDecodeError as error:
        raise UserError(
            f"Line {error.lineno}, column {error.colno}: {error.msg}. Write a JSON object.",
            code="json",
            field=field,
        ) from error
    except RecursionError as error:
        raise UserError("The JSON is nested too deeply.", code="json", field=field) from error
    except ValueError as error:
        raise UserError(f"{error} Write plain JSON.", code="json", field=field) from error
    if not isinstance(value, dict):
        raise UserError(
            "This is no JSON object. Write one in braces: {…}.", code="json", field=field
        )
    json_check(value, field=field)
    return value


def json_check(value: object, *, field: str) -> None:
    """Refuse what a database cannot hold: NUL, lone surrogates, non-finite and giant numbers."""
    waiting: list[tuple[object, int]] = [(value, 0)]
    while waiting:
        current, depth = waiting.pop()
        if depth > DEEPEST:
            raise UserError(
                f"It is nested more than {DEEPEST} levels deep. Make it flatter.",
                code="json",
                field=field,
            )
        if isinstance(current, Mapping):
            for key, inner in current.items():
                waiting += [(key, depth + 1), (inner, depth + 1)]
        elif isinstance(current, list):
            waiting += [(inner, depth + 1) for inner in current]
        else:
            _check_scalar(current, field)


def _check_scalar(value: object, field: str) -> None:
    if isinstance(value, str):
        text.storable(value, field=field)
    elif isinstance(value, bool) or value is None:
        return
    elif not isinstance(value, int | float):
        raise UserError(f"It holds a {type(value).__name__}, which is no JSON.", field=field)
    elif abs(value) > LARGEST_NUMBER or not math.isfinite(value):
        raise UserError(
            "It holds a number that is not finite or too large.", code="non_finite", field=field
        )


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for key, value in pairs:
        if key in made:
            raise ValueError(f"The key {key[:100]!r} stands twice in one object.")
        made[key] = value
    return made


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number.")
