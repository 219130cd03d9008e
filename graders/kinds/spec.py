"""Reading a grader spec: what a kind declares, and typed access to its keys with dotted errors."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from graders.kinds.base import Grader, GraderSpecError, PythonRunner, did_you_mean
from graders.kinds.outside import Outside
from graders.kinds.templates import Template

NAME_LONGEST = 100
COMMON_KEYS = frozenset({"type", "name", "pass_threshold"})


@dataclass(frozen=True)
class Kind:
    """One kind of grader. To add one: a folder with a `kind.py`, and its line in the registry.

    `required` and `optional` are the keys beside those that every grader may have.
    """

    type: str
    title: str
    required: frozenset[str]
    optional: frozenset[str]
    build: Callable[[SpecReader], Grader]


@dataclass(frozen=True)
class Hooks:
    """What graders may use of the world outside; without it each grading is an error."""

    python: PythonRunner
    outside: Outside = field(default_factory=Outside)


Load = Callable[[Any, str, "str | None"], Grader]
"""Loads a child spec: the spec, its dotted place, and the type of the grader it is inside."""


class SpecReader:
    """The keys of one grader's spec; every refusal names the place and what to write instead."""

    def __init__(
        self,
        spec: Mapping[str, Any],
        kind: Kind,
        *,
        param: str,
        hooks: Hooks,
        load: Load,
    ) -> None:
        self._spec = spec
        self._kind = kind
        self._param = param
        self._load = load
        self.hooks = hooks
        self._check_keys()

    def place(self, key: str) -> str:
        return f"{self._param}.{key}" if self._param else key

    def refuse(self, key: str, message: str) -> GraderSpecError:
        return GraderSpecError(self.place(key), message)

    def has(self, key: str) -> bool:
        return self._spec.get(key) is not None

    def value(self, key: str) -> Any:
        """As it is written, for a kind that reads it itself."""
        return self._spec[key]

    def text(self, key: str) -> str:
        value = self._spec[key]
        if not isinstance(value, str):
            raise self.refuse(key, f"{_short(value)} is no text. Write it in quotes.")
        return value

    def template(self, key: str, default: str = "") -> Template:
        """The template at `key`, or `default` where there is none."""
        text = self.text(key) if self.has(key) else default
        return Template(text, param=self.place(key))

    def flag(self, key: str) -> bool:
        """Whether `key` is true; it is not where it is left out."""
        if not self.has(key):
            return False
        if not isinstance(value := self._spec[key], bool):
            raise self.refuse(key, f"{_short(value)} is neither true nor false.")
        return value

    def sequence(self, key: str) -> list[Any]:
        value = self._spec[key]
        if not isinstance(value, list):
            raise self.refuse(key, f"{_short(value)} is no list.")
        return value

    def mapping(self, key: str) -> Mapping[str, Any]:
        value = self._spec[key]
        if not isinstance(value, Mapping):
            raise self.refuse(key, f"{_short(value)} is no object.")
        return value

    def choice(self, key: str, options: Iterable[str], default: str = "") -> str:
        value = self.text(key) if self.has(key) or not default else default
        if value not in (known := list(options)):
            raise self.refuse(
                key,
                f"{_short(value)} is unknown. Use one of {', '.join(known)}."
                f"{did_you_mean(value, known)}",
            )
        return value

    def number(self, key: str, *, default: float = 0.0, least: float | None = None) -> float:
        """The finite number at `key`, `least` or more, or `default` where there is none."""
        if not self.has(key):
            return default
        value = self._spec[key]
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.refuse(key, f"{_short(value)} is no number.")
        if abs(value) > 1e300 or not math.isfinite(value):
            raise self.refuse(key, "The number is not finite or too large.")
        if least is not None and value < least:
            raise self.refuse(key, f"{_short(value)} is less than {least:g}.")
        return float(value)

    def children(self, key: str) -> Mapping[str, Any]:
        """The specs at `key` by name; those in a list go by their own `name`."""
        value = self._spec[key]
        return self._named(key, value) if isinstance(value, list) else self.mapping(key)

    def load(self, child: Any, place: str) -> Grader:
        return self._load(child, self.place(place), self._kind.type)

    def _named(self, key: str, children: list[Any]) -> dict[str, Any]:
        named: dict[str, Any] = {}
        for number, child in enumerate(children):
            name = child.get("name") if isinstance(child, Mapping) else None
            if not isinstance(name, str):
                raise self.refuse(
                    f"{key}[{number}]", "A grader in a list goes by its `name`. Give it one."
                )
            if name in named:
                raise self.refuse(
                    f"{key}[{number}]", f"{_short(name)} is the name of two graders. Change one."
                )
            named[name] = child
        return named

    def _check_keys(self) -> None:
        allowed = self._kind.required | self._kind.optional | COMMON_KEYS
        for key in self._spec:
            if not isinstance(key, str) or key not in allowed:
                raise self.refuse(
                    str(key)[:100],
                    f"`{str(key)[:100]}` is no key of a {self._kind.type} grader. It has "
                    f"{', '.join(sorted(allowed))}.{did_you_mean(str(key), allowed)}",
                )
        for key in sorted(self._kind.required):
            if self._spec.get(key) is None:
                raise self.refuse(key, f"A {self._kind.type} grader needs `{key}`. Add it.")
        if self.has("name") and len(self.text("name")) > NAME_LONGEST:
            raise self.refuse("name", f"The name is longer than {NAME_LONGEST} characters.")
        if self.has("pass_threshold"):
            self.number("pass_threshold")


def _short(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 80 else shown[:77] + "…"
