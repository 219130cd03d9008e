"""A tool's parameters: what is refused, how large they may be, and what is remembered."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError

from hone.datasets import schemas
from hone.datasets.rows import Row, check_row
from hone.datasets.schemas import LONGEST_SCHEMA, schema_fault
from hone.tools.services import register as tools


def _sized(characters: int) -> dict[str, Any]:
    schema = {"type": "object", "description": ""}
    return {**schema, "description": "ü" * (characters - len(json.dumps(schema)))}


def test_a_schema_has_at_most_as_many_characters_as_a_registered_tools() -> None:
    assert LONGEST_SCHEMA == tools.LONGEST_SCHEMA == 64_000
    assert schema_fault(_sized(64_000)) == ""
    assert schema_fault(_sized(64_001)) == "it has 64001 characters, and at most 64000 fit"


def test_the_line_and_the_field_of_a_schema_that_is_too_long_are_named() -> None:
    function = {"name": "search", "parameters": _sized(70_000)}
    row = {
        "messages": [{"role": "user", "content": "x"}],
        "tools": [{"type": "function", "function": function}],
    }
    found = check_row(17, json.dumps(row).encode())
    assert not isinstance(found, Row)
    assert (found[0].line, found[0].field) == (17, "tools[0].function.parameters")
    assert found[0].message == (
        "Line 17: `tools[0].function.parameters` is no JSON schema of an object: it has 70000 "
        "characters, and at most 64000 fit."
    )


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"a": {"anyOf": [{"type": "string"}, {"$ref": "#/$defs/b"}]}}},
        {"properties": {"a": True, "b": {"items": {"enum": [1]}, "prefixItems": [{}]}}},
        {"properties": {"a": {"anyOf": []}}},
        {"properties": {"a": {"not": {"items": [{}]}}}},
        {"patternProperties": {"a": {"minLength": -1}}},
        {"$defs": {"a": {"$anchor": "no spaces"}}},
        {"dependentRequired": {"a": ["b", "b"]}},
        {"unevaluatedProperties": {"format": 3}},
        {"if": {"contentSchema": {"deprecated": "yes"}}},
    ],
)
def test_a_schema_is_judged_as_the_published_schema_of_schemas_does(schema: dict[str, Any]) -> None:
    try:
        Draft202012Validator.check_schema(schema)
        published = ""
    except SchemaError as error:
        published = error.message
    assert bool(schema_fault(schema)) == bool(published)


def test_a_deep_schema_is_refused_where_the_stack_is_short() -> None:
    schema: dict[str, Any] = {"type": "object", "title": "deep"}
    for _ in range(28):
        schema = {"type": "object", "properties": {"a": schema}}

    def below(frames: int) -> str:
        return schema_fault(schema) if frames == 0 else below(frames - 1)

    assert below(800) == "it is nested too deeply"


def test_a_verdict_is_given_though_another_thread_forgets_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Forgetful(dict[str, str]):
        def __setitem__(self, key: str, value: str) -> None:
            self.clear()

    monkeypatch.setattr(schemas, "_known", Forgetful())
    assert schema_fault({"required": "a"}) == "'a' is not of type 'array'"


def test_schemas_are_judged_alike_by_many_threads_while_the_memory_is_emptied(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(schemas, "_MOST_KNOWN", 2)
    found: list[str] = []

    def judge(thread: int) -> None:
        found.extend(schema_fault({"title": f"{thread} {n % 3}"}) for n in range(50))

    threads = [threading.Thread(target=judge, args=(thread,)) for thread in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [""] * 400
