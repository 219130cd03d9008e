"""What passes by the batch would pass alone, and sound rows do pass by the batch."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from hone.datasets.batches import BatchCheck, Lines
from hone.datasets.rows import Row, check_row
from tests.datasets.test_datasets_fuzz import rows

USER = {"role": "user", "content": "x"}
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]


def _line(*messages: dict[str, Any], **keys: Any) -> bytes:
    return json.dumps({"messages": list(messages) or [USER], **keys}).encode()


@pytest.mark.slow
@settings(max_examples=2000, deadline=None)
@given(rows())
def test_nothing_passes_by_the_batch_that_would_not_pass_alone(line: bytes) -> None:
    line = line.replace(b"\n", b" ")
    counts = BatchCheck().sound(Lines(line))
    checked = check_row(1, line)
    if counts is not None:
        assert isinstance(checked, Row)
        assert counts == ({checked.keys: 1}, {checked.tools: 1} if "tools" in checked.keys else {})


PLAIN: dict[str, Any] = {"messages": [USER], "tools": TOOLS, "answer": "x", "n": 1}
OTHERS = some.sampled_from(
    [None, "", "x\x00", "\ud800", 1.5, 10**400, float("nan"), [], [USER], TOOLS, {"a": 1}]
)


@pytest.mark.slow
@settings(max_examples=2000, deadline=None)
@given(some.sampled_from([*PLAIN, "role", "content", "weight", "other"]), OTHERS, some.data())
def test_nothing_passes_by_the_shape_of_its_neighbours_that_would_not_pass_alone(
    key: str, value: Any, data: some.DataObject
) -> None:
    row = json.loads(json.dumps(PLAIN))
    (row["messages"][0] if key in {"role", "content", "weight"} else row)[key] = value
    line = bytearray(json.dumps(row).encode("utf-8", "ignore"))
    for _ in range(data.draw(some.integers(0, 2))):
        place = data.draw(some.integers(0, len(line) - 1))
        line[place : place + 1] = data.draw(some.binary(max_size=3)).replace(b"\n", b"")
    check = BatchCheck()
    plain = json.dumps(PLAIN).encode()
    for _ in range(2):
        assert check.sound(Lines(plain)) == ({tuple(PLAIN): 1}, {("f",): 1})
    counts = check.sound(Lines(plain + b"\n" + bytes(line)))
    checked = check_row(1, bytes(line))
    if counts is not None:
        assert isinstance(checked, Row)
        assert counts[0] == Counter([tuple(PLAIN), checked.keys])


def test_rows_of_one_shape_are_read_in_one_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    check, line = BatchCheck(), json.dumps(PLAIN).encode()
    check.sound(Lines(line))
    monkeypatch.setattr(check, "_counted", None)
    assert check.sound(Lines(b"\n".join([line] * 3))) == ({tuple(PLAIN): 3}, {("f",): 3})


@pytest.mark.parametrize(
    "line",
    [
        _line(),
        _line(USER, {"role": "assistant", "content": "y", "weight": 1}, {**USER, "name": "Al"}),
        _line({"role": "assistant", "content": None, "tool_calls": [CALL]},
              {"role": "tool", "content": "4", "tool_call_id": "c1"}, USER),
        _line({"role": "user", "content": [{"type": "text", "text": "x"}]}),
        _line(tools=TOOLS, answer={"a": [1, {"b": None}]}, n=1.5, text="ü \u2028"),
        _line(tools=None),
        _line(deep=json.loads("[" * 63 + "]" * 63)),
        _line(hash="9e1000", text='"e": 1e999,'),
    ],
)  # fmt: skip
def test_sound_rows_pass_by_the_batch(line: bytes) -> None:
    assert isinstance(check_row(1, line), Row)
    assert BatchCheck().sound(Lines(_line() + b"\n" + line)) is not None


@pytest.mark.parametrize(
    "lines",
    [
        [_line(answer="\x00")],
        [_line(**{"a\x00": 1})],
        [_line({"role": "user", "content": "\x00"})],
        [_line({"role": "user", "content": [{"type": "text", "text": "\x00"}]})],
        [_line({**USER, "name": "\x00"})],
        [_line(answer=[{"a": "\x00"}])],
        [_line(answer=float("nan"))],
        [_line()[:-1] + b',"n":1e999}'],
        [_line()[:-1] + b',"n":' + b"7" * 4301 + b',"n":1}'],
        [_line()[:-1] + b',"n":"\xff"}'],
        [_line()[:-1] + b',"n":"\xff","n":1}'],
        [_line(deep=json.loads("[" * 64 + "]" * 64))],
        [_line(tools=[TOOLS[0], TOOLS[0]])],
        [_line(USER, {"role": "assistant", "content": "y"})],
        [_line({"role": "user", "content": None})],
        [_line() + _line()],
        [_line() + b" " + _line(), _line()],
        [b'{"messages":[{"role":"user","content":"x"}],"a":{}', b"}"],
        [b"{}"],
        [b""],
        [b" " + _line()],
        [b"\xef\xbb\xbf" + _line()],
    ],
)
def test_what_has_a_problem_or_something_around_it_does_not(lines: list[bytes]) -> None:
    check = BatchCheck()
    for _ in range(2):
        assert check.sound(Lines(b"\n".join([_line(), *lines]))) is None
        assert check.sound(Lines(_line())) is not None
