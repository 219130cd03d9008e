"""A JSON schema that faces hostile values: nothing is fetched, and no rule runs for long."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jsonschema
import regex
from jsonschema.exceptions import SchemaError, ValidationError
from jsonschema_specifications import REGISTRY
from referencing.exceptions import Unresolvable

from graders.kinds.values import SHOWN

PATTERN_S = 0.5
MOST_BREACHES = 1000
MOST_REFERENCES = 20_000
"""How often `$ref` is followed for one value."""

_DRAFT = jsonschema.Draft202012Validator
_work = threading.local()


class BadSchema(ValueError):
    """The schema cannot work; the sentence says why."""


class TooSlow(Exception):
    """A rule of the schema takes too long for a value."""


class Breach(NamedTuple):
    """A rule that a value breaks, and where."""

    path: tuple[str | int, ...]
    message: str
    rule: str


class Schema:
    """A schema that is ready to use; safe to use from several threads."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        try:
            _Validator.check_schema(schema)
            self._validator = _Validator(schema, registry=REGISTRY)
            _check_parts(schema, self._validator)
            trials: tuple[Any, ...] = (None, {}, [], "")
            for value in trials:
                self.breaches(value)
        except SchemaError as error:
            place = ".".join(map(str, error.absolute_path))
            raise BadSchema(f"{place + ': ' if place else ''}{error.message[:SHOWN]}.") from error
        except RecursionError as error:
            raise BadSchema("It refers to itself without end, or is nested too deeply.") from error
        except TooSlow as error:
            raise BadSchema(str(error)) from error
        wanted = schema.get("required", [])
        self._required = {name for name in wanted if isinstance(name, str)}
        self._known = self._required | set(schema.get("properties", {}))

    def breaches(self, value: Any) -> list[Breach]:
        """What `value` breaks, the first thousand; raises TooSlow."""
        found: list[Breach] = []
        _work.references = 0
        for error in self._validator.iter_errors(value):
            path, message = tuple(error.absolute_path), error.message[:SHOWN]
            found.append(Breach(path, message, str(error.validator)))
            if len(found) == MOST_BREACHES:
                break
        return found

    def share(self, value: Any, breaches: list[Breach]) -> float:
        """The share of properties, those required and those present, that are as they have to be.

        A breach of any other rule counts as one property more that is not. Where not all breaches
        are known, what the others would be of is not known either, and nothing is earned.
        """
        if not isinstance(value, dict) or len(breaches) == MOST_BREACHES:
            return float(not breaches)
        names = self._required | (self._known & value.keys())
        wrong = (self._required - value.keys()) | {
            str(breach.path[0]) for breach in breaches if breach.path and breach.path[0] in names
        }
        other = any(
            breach.path[0] not in names if breach.path else breach.rule != "required"
            for breach in breaches
        )
        total = len(names) + other
        return (len(names) - len(wrong)) / total if total else 1.0


def _check_parts(schema: Any, validator: Any) -> None:
    waiting = [schema]
    while waiting:
        current = waiting.pop()
        if isinstance(current, Mapping):
            _check_reference(current.get("$ref"), validator)
            _check_patterns([current.get("pattern"), *(current.get("patternProperties") or ())])
            waiting += current.values()
        elif isinstance(current, list):
            waiting += current


def _check_reference(reference: Any, validator: Any) -> None:
    if not isinstance(reference, str):
        return
    try:
        if reference.startswith("#"):
            validator._resolver.lookup(reference)
            return
    except Unresolvable:
        pass
    raise BadSchema(
        f"`$ref` {reference[:100]!r} leads nowhere. Point to a part of this schema, as "
        '"#/$defs/address".'
    )


def _check_patterns(patterns: list[Any]) -> None:
    for pattern in patterns:
        try:
            if isinstance(pattern, str):
                regex.compile(pattern)
        except regex.error as error:
            raise BadSchema(f"The pattern {pattern[:100]!r} cannot be read: {error}.") from error


def _search(pattern: str, text: str) -> bool:
    try:
        return regex.search(pattern, text, timeout=PATTERN_S) is not None
    except TimeoutError:
        raise TooSlow(
            f"The pattern {pattern[:100]!r} took longer than {PATTERN_S:g} s for a text of "
            f"{len(text)} characters. Write one without nested repetition."
        ) from None


def _pattern(validator: Any, pattern: str, value: Any, schema: Any) -> Iterator[ValidationError]:
    if isinstance(value, str) and not _search(pattern, value):
        yield ValidationError(f"{value[:SHOWN]!r} does not match {pattern!r}")


def _pattern_properties(
    validator: Any, patterns: Mapping[str, Any], value: Any, schema: Any
) -> Iterator[ValidationError]:
    if isinstance(value, dict):
        for pattern, inner in patterns.items():
            for key in value:
                if _search(pattern, key):
                    yield from validator.descend(value[key], inner, path=key, schema_path=pattern)


def _unique_items(
    validator: Any, unique: Any, value: Any, schema: Any
) -> Iterator[ValidationError]:
    """In one pass; the library compares each item with each."""
    if unique and isinstance(value, list):
        known = {json.dumps(_plain(item), sort_keys=True) for item in value}
        if len(known) < len(value):
            yield ValidationError(f"{len(value) - len(known)} of {len(value)} items stand twice")


def _plain(value: Any) -> Any:
    """The value, with 1.0 as 1, which is the same number in JSON."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _followed(name: str) -> Any:
    follow: Any = _DRAFT.VALIDATORS[name]

    def reference(
        validator: Any, target: str, value: Any, schema: Any
    ) -> Iterator[ValidationError]:
        _work.references = getattr(_work, "references", 0) + 1
        if _work.references > MOST_REFERENCES:
            raise TooSlow(
                f"The schema follows `{name}` more than {MOST_REFERENCES} times for one value. "
                "Make it flatter."
            )
        yield from follow(validator, target, value, schema)

    return reference


_Validator: Any = jsonschema.validators.extend(
    _DRAFT,
    {
        "pattern": _pattern,
        "patternProperties": _pattern_properties,
        "uniqueItems": _unique_items,
        "$ref": _followed("$ref"),
        "$dynamicRef": _followed("$dynamicRef"),
    },
)
