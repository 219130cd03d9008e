"""What the arguments of a call have to be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from graders.kinds.base import Sample
from graders.kinds.templates import Template, as_text
from graders.kinds.values import DEEPEST


@dataclass(frozen=True)
class Expected:
    """A value with templates in it; of an object only the keys that it names are compared."""

    value: Any
    templates: frozenset[Template]

    def filled(self, sample: Sample, item: Mapping[str, Any]) -> Any:
        """The value with its templates rendered; raises MissingVariable."""
        return _filled(self.value, sample, item)


def read_expected(value: Any, param: str) -> Expected:
    """`value` with its texts read as templates; raises GraderSpecError."""
    templates: set[Template] = set()
    return Expected(_read(value, param, templates), frozenset(templates))


def fits(wanted: Any, found: Any, depth: int = 0) -> bool:
    """Whether `found` is as `wanted`. A text is compared with the text of what was found."""
    if depth > DEEPEST:
        return False
    if isinstance(wanted, str):
        return wanted == as_text(found)
    if isinstance(wanted, Mapping):
        return isinstance(found, Mapping) and all(
            key in found and fits(inner, found[key], depth + 1) for key, inner in wanted.items()
        )
    if isinstance(wanted, list):
        return (
            isinstance(found, list)
            and len(wanted) == len(found)
            and all(fits(*pair, depth + 1) for pair in zip(wanted, found, strict=True))
        )
    # In Python, True is 1.
    return isinstance(wanted, bool) == isinstance(found, bool) and bool(wanted == found)


def _read(value: Any, param: str, templates: set[Template]) -> Any:
    if isinstance(value, str):
        template = Template(value, param=param)
        templates.add(template)
        return template
    if isinstance(value, Mapping):
        return {key: _read(inner, f"{param}.{key}", templates) for key, inner in value.items()}
    if isinstance(value, list):
        return [_read(inner, f"{param}[{i}]", templates) for i, inner in enumerate(value)]
    return value


def _filled(value: Any, sample: Sample, item: Mapping[str, Any]) -> Any:
    if isinstance(value, Template):
        return value.of(sample, item)
    if isinstance(value, dict):
        return {key: _filled(inner, sample, item) for key, inner in value.items()}
    if isinstance(value, list):
        return [_filled(inner, sample, item) for inner in value]
    return value
