"""Text from outside is checked before a database sees it."""

from __future__ import annotations

import pytest

from hone.core.errors import UserError
from hone.core.text import name, storable


@pytest.mark.parametrize("value", ["", "abc", "ü\U0001f600", "a\nb\t"])
def test_what_a_database_can_hold_is_kept_as_it_is(value: str) -> None:
    assert storable(value, field="note") == value


@pytest.mark.parametrize(
    ("value", "code", "message"),
    [
        ("a\x00", "nul", "note holds a NUL character. Remove it."),
        ("ab\ud800", "surrogate", "note holds a lone surrogate at character 2. Remove it."),
    ],
)
def test_what_no_database_can_hold_is_refused(value: str, code: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        storable(value, field="note")
    assert (caught.value.code, caught.value.field, caught.value.message) == (code, "note", message)


def test_a_name_is_stripped_and_has_one_line() -> None:
    assert name("  My orders ") == "My orders"
    assert name("x" * 100) == "x" * 100
    for value, message in (
        ("  ", "The name is empty. Give it one."),
        ("x" * 101, "The name has 101 characters; at most 100 fit. Shorten it."),
        ("a\nb", "The name has a line break. Remove it."),
    ):
        with pytest.raises(UserError) as caught:
            name(value)
        assert caught.value.message == message
