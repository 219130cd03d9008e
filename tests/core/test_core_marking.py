"""Searched words are found in a text in any case, the longest first."""

from __future__ import annotations

import pytest

from hone.core.marking import marked


@pytest.mark.parametrize(
    ("text", "words", "pieces"),
    [
        ("Order 7 is late", ["LATE"], [("Order 7 is ", False), ("late", True)]),
        ("aXbx", ["x"], [("a", False), ("X", True), ("b", False), ("x", True)]),
        ("refunded", ["fund", "refund"], [("refund", True), ("ed", False)]),
        ("a.b", ["."], [("a", False), (".", True), ("b", False)]),
        ("plain", [], [("plain", False)]),
        ("", ["x"], []),
        ("", [], []),
    ],
)
def test_words_are_marked(text: str, words: list[str], pieces: list[tuple[str, bool]]) -> None:
    assert marked(text, words) == pieces
