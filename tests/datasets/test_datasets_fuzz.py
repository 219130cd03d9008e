"""Whatever arrives, reading it ends in a reading or in a refusal that a page can show."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from hone.datasets.errors import DatasetRefused, Problem
from hone.datasets.reading import LEAST_ROWS, Reading, read_upload

CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
FUNCTION = {"name": "f", "description": "", "parameters": {"properties": {"a": {"enum": [1]}}}}
GOOD = {
    "messages": [
        {"role": "system", "content": [{"type": "text", "text": "x"}]},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "content": "42", "tool_call_id": "c1"},
        {"role": "user", "content": "x"},
    ],
    "tools": [{"type": "function", "function": FUNCTION}],
    "answer": {"a": [1.5, "\u2028"]},
}
NAMES = ["messages", "role", "content", "type", "text", "tool_calls", "id", "function", "name"]
WORDS = some.sampled_from([*NAMES, "u'ser", "usr", '"', "` - at `$.x`", "\x00", "\ud800", "{}", ""])
VALUES: some.SearchStrategy[Any] = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats() | some.text() | WORDS,
    lambda inner: some.lists(inner) | some.dictionaries(some.text() | WORDS, inner),
    max_leaves=8,
)


@some.composite
def rows(draw: some.DrawFn) -> bytes:
    """A good row of which one value is another, or a key is gone, and then a few bytes too."""
    row: Any = json.loads(json.dumps(GOOD))
    inside: Any = row
    while True:
        key = draw(
            some.sampled_from(list(inside) if isinstance(inside, dict) else range(len(inside)))
        )
        if not inside[key] or not isinstance(inside[key], dict | list) or draw(some.booleans()):
            break
        inside = inside[key]
    if draw(some.booleans()):
        del inside[key]
    else:
        inside[key] = draw(VALUES)
    line = bytearray(json.dumps(row, ensure_ascii=draw(some.booleans())).encode("utf-8", "ignore"))
    for _ in range(draw(some.integers(0, 2))):
        place = draw(some.integers(0, len(line) - 1))
        line[place : place + 1] = draw(some.binary(max_size=3))
    return bytes(line)


def read(content: bytes, size: int) -> Reading | DatasetRefused:
    chunks = [content[start : start + size] for start in range(0, len(content), size)]
    try:
        return read_upload(chunks, most_rows=50, most_bytes=10**6)
    except DatasetRefused as refusal:
        return refusal


def showable(problem: Problem) -> bool:
    shown = problem.message.encode() + problem.field.encode()
    return b"\x00" not in shown and len(shown) < 1000 and problem.message.endswith((".", "?"))


@pytest.mark.slow
@settings(max_examples=400, deadline=None)
@given(some.lists(rows() | VALUES.map(repr).map(lambda text: text.encode("utf-8", "ignore"))))
def test_nothing_but_refusals_is_raised(lines: list[bytes]) -> None:
    content = b"\n".join(lines)
    found = read(content, 7)
    if isinstance(found, DatasetRefused):
        assert all(showable(problem) for problem in found.problems)
        again = read(content, 10**6)
        assert isinstance(again, DatasetRefused)
        assert again.problems == found.problems
    else:
        assert found.rows >= LEAST_ROWS
