"""Values that a model or a row holds: read as strict JSON, and shown without harm."""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

LONGEST = 1_000_000
DEEPEST = 64
MOST_DIGITS = 300
"""So that any whole number is a float, too."""
SHOWN = 200


class NotJson(ValueError):
    """The text is no JSON; the sentence says why."""


def read_json(text: str) -> Any:
    """The value that `text` is in plain JSON; raises NotJson."""
    if len(text) > LONGEST:
        raise NotJson(f"It has {len(text)} characters; at most {LONGEST} are read.")
    try:
        value = json.loads(
            text,
            parse_constant=_refuse,
            parse_float=_finite,
            parse_int=_whole,
            object_pairs_hook=_without_doubles,
        )
    except RecursionError:
        raise NotJson("It is nested too deeply.") from None
    except ValueError as error:
        raise NotJson(str(error)) from None
    if _is_deeper(value, DEEPEST):
        raise NotJson(f"It is nested more than {DEEPEST} levels deep.")
    return value


def storable(text: str, longest: int = SHOWN) -> str:
    """`text` as it may stand in a message: short, and nothing in it that a database refuses."""
    cut = text if len(text) <= longest else text[: longest - 1] + "…"
    return cut.replace("\x00", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()


def _is_deeper(value: Any, levels: int) -> bool:
    layer = [value]
    for _ in range(levels + 1):
        layer = [inner for outer in layer for inner in _inside(outer)]
    return bool(layer)


def _inside(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number.")


def _finite(digits: str) -> float:
    if not math.isfinite(value := float(digits)):
        raise ValueError(f"{digits[:40]} is too large a number.")
    return value


def _whole(digits: str) -> int:
    if len(digits) > MOST_DIGITS:
        raise ValueError(f"A number has {len(digits)} digits; at most {MOST_DIGITS} are read.")
    return int(digits)


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise ValueError("A key stands twice in one object.")
    return made
