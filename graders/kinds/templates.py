"""Templates: `{{item.x}}` and `{{sample.output_text}}`, with nested and indexed paths."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from graders.kinds.base import GraderSpecError, Grading, GradingError, Sample, did_you_mean

_STEP = re.compile(
    r"""\.([^\s.\[\]{}"']+) | \[\s*(\d{1,9})\s*\] | \[\s*'([^']*)'\s*\] | \[\s*"([^"]*)"\s*\]""",
    re.VERBOSE,
)
NAMESPACES = ("item", "sample")
SAMPLE_KEYS = (
    "output_text",
    "output_json",
    "output_tools",
    "choices",
    "output_audio",
    "turn",
    "usage",
)
MOST_VARIABLES = 100
SHOWN = 80

OUTPUT_TEXT = "{{sample.output_text}}"
"""The template of kinds that read the answer where nothing else is asked for."""

Path = tuple[str | int, ...]


class MissingVariable(LookupError):
    """A template reads something that is not there."""

    def __init__(self, variable: str, reason: str) -> None:
        super().__init__(f"{{{{{variable}}}}} {reason}")
        self.variable = variable

    @property
    def grading(self) -> Grading:
        return Grading(reward=None, error=GradingError("invalid_variable", str(self)))


class Template:
    """A parsed template; `render` fills each placeholder once and never reads what it filled in."""

    def __init__(self, text: str, *, param: str = "") -> None:
        self._literals: list[str] = []
        self._paths: list[tuple[str, Path]] = []
        end = 0
        while (start := text.find("{{", end)) >= 0:
            close = text.find("}}", start + 2)
            if close < 0:
                raise GraderSpecError(
                    param,
                    f"{text[start : start + 40]!r} opens a variable and does not close it. Write "
                    "}} behind its name, as in {{item.answer}}.",
                )
            variable = text[start + 2 : close].strip()
            self._literals.append(text[end:start])
            self._paths.append((variable, parse_path(variable, param=param)))
            end = close + 2
        self._literals.append(text[end:])
        if len(self._paths) > MOST_VARIABLES:
            raise GraderSpecError(
                param,
                f"It reads {len(self._paths)} variables; at most {MOST_VARIABLES} are possible.",
            )

    def variables(self) -> frozenset[str]:
        return frozenset(variable for variable, _ in self._paths)

    def of(self, sample: Sample, item: Mapping[str, Any]) -> str:
        """The text for this sample and row; raises MissingVariable."""
        return self.render({"item": item, "sample": sample.as_dict()})

    def render(
        self, namespaces: Mapping[str, Any], *, quote: Callable[[str], str] | None = None
    ) -> str:
        """The text; raises MissingVariable. `quote` changes what comes of the sample."""
        pieces = [self._literals[0]]
        for (variable, path), literal in zip(self._paths, self._literals[1:], strict=True):
            try:
                text = as_text(look_up(variable, path, namespaces))
            except (RecursionError, TypeError, ValueError):
                raise MissingVariable(variable, "is nothing that can be a text.") from None
            pieces.append(quote(text) if quote and path[0] == "sample" else text)
            pieces.append(literal)
        return "".join(pieces)


def parse_path(variable: str, *, param: str = "") -> Path:
    """`item.a[0].b` → `("item", "a", 0, "b")`; raises GraderSpecError."""
    shown = f"{{{{{variable if len(variable) <= SHOWN else variable[:SHOWN] + '…'}}}}}"
    namespace = re.match(r"[A-Za-z_]+", variable)
    if namespace is None or namespace.group() not in NAMESPACES:
        raise GraderSpecError(
            param,
            f"{shown} starts with neither `item` nor `sample`. Write, for example, "
            "{{item.answer}} or {{sample.output_text}}.",
        )
    path: list[str | int] = [namespace.group()]
    at = namespace.end()
    while at < len(variable):
        step = _STEP.match(variable, at)
        if step is None:
            raise GraderSpecError(
                param,
                f"{shown} cannot be read from {variable[at : at + SHOWN]!r} on. A path is made of "
                "`.key` and `[index]`, as in {{sample.output_tools[0].function.name}}.",
            )
        path.append(int(step[2]) if step[2] else step[1] or step[3] or step[4] or "")
        at = step.end()
    if path[0] == "sample" and len(path) > 1 and path[1] not in SAMPLE_KEYS:
        raise GraderSpecError(
            param,
            f"{shown} is nothing that a sample has. It has {', '.join(SAMPLE_KEYS)}."
            f"{did_you_mean(str(path[1]), SAMPLE_KEYS)}",
        )
    return tuple(path)


def look_up(variable: str, path: Path, namespaces: Mapping[str, Any]) -> Any:
    """The value at `path`; raises MissingVariable with what is there instead."""
    value: Any = namespaces
    for step in path:
        if isinstance(step, int):
            if not isinstance(value, list):
                raise MissingVariable(variable, f"takes index {step} of {_kind(value)}.")
            if step >= len(value):
                raise MissingVariable(variable, f"takes index {step} of a list of {len(value)}.")
            value = value[step]
        else:
            if not isinstance(value, Mapping):
                raise MissingVariable(variable, f"takes the key {step!r} of {_kind(value)}.")
            if step not in value:
                raise MissingVariable(variable, f"is missing. Keys present: {_keys(value)}.")
            value = value[step]
    return value


def as_text(value: Any) -> str:
    """A string as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _keys(value: Mapping[str, Any]) -> str:
    # Escaped as repr does: a model's own key may hold what no database does.
    shown = sorted(repr(str(key)[:60])[1:-1] for key in value)
    return ", ".join(shown[:20]) + (" and more" if len(shown) > 20 else "") if shown else "none"


def _kind(value: Any) -> str:
    names = {str: "a text", bool: "a boolean", int: "a number", float: "a number", list: "a list"}
    return "an object" if isinstance(value, Mapping) else names.get(type(value), "null")
