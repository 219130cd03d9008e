"""JSON that people write: the one door from a text field to a value that can be kept and sent."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, NoReturn

from hone.core import text
from hone.core.errors import UserError

LONGEST = 2_000_000
# A dataset's rows keep to these too, so that a row that passed there can be typed anywhere.
DEEPEST = 64
MOST_DIGITS = 4300


def object_from_text(source: str, *, field: str) -> dict[str, Any]:
    """The JSON object in `source`; raises UserError with the line, or with what cannot be kept."""
    value = value_from_text(source, field=field, wanted="a JSON object")
    if not isinstance(value, dict):
        raise _refusal("This is no JSON object. Write one in braces: {…}.", field)
    return value


def value_from_text(source: str, *, field: str, wanted: str = "JSON") -> Any:
    """The JSON value in `source`; a refusal says to write what is `wanted`."""
    if len(source) > LONGEST:
        raise _refusal(
            f"This has {len(source)} characters; at most {LONGEST} are read. Shorten it.", field
        )
    try:
        value = json.loads(
            source,
            object_pairs_hook=_without_doubles,
            parse_constant=_refuse_constant,
            parse_int=_whole_number,
        )
    except json.JSONDecodeError as error:
        place = f"Line {error.lineno}, column {error.colno}: {error.msg}."
        raise _refusal(f"{place} Write {wanted}.", field) from error
    except RecursionError as error:
        raise _refusal("The JSON is nested too deeply. Make it flatter.", field) from error
    except ValueError as error:
        raise _refusal(f"{error} Write plain JSON.", field) from error
    json_check(value, field=field)
    return value


def json_check(value: object, *, field: str) -> None:
    """Refuse what a database cannot hold: NUL, lone surrogates, numbers that are not finite."""
    waiting: list[tuple[object, int]] = [(value, 0)]
    while waiting:
        current, depth = waiting.pop()
        if depth > DEEPEST:
            raise _refusal(f"It is nested more than {DEEPEST} levels deep. Make it flatter.", field)
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
    elif isinstance(value, float) and not math.isfinite(value):
        raise UserError(
            "It holds a number that is not finite or too large.", code="non_finite", field=field
        )


def _refusal(message: str, field: str) -> UserError:
    return UserError(message, code="json", field=field)


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for key, value in pairs:
        if key in made:
            raise ValueError(f"The key {key[:100]!r} stands twice in one object.")
        made[key] = value
    return made


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number.")


def _whole_number(digits: str) -> int:
    # Python has a limit of its own, and names it in words for programmers.
    if len(digits) > MOST_DIGITS:
        raise ValueError(f"A number has {len(digits)} digits; at most {MOST_DIGITS} are read.")
    return int(digits)
