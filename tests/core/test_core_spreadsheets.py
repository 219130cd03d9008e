"""Text that a spreadsheet would compute stays text; numbers stay numbers."""

from __future__ import annotations

import pytest

from hone.core.spreadsheets import cells


@pytest.mark.parametrize(
    ("cell", "written"),
    [
        ('=HYPERLINK("https://evil.example")', '\'=HYPERLINK("https://evil.example")'),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@SUM(1)", "'@SUM(1)"),
        ("\t=1", "'\t=1"),
        ("\r=1", "'\r=1"),
        ("plain = text", "plain = text"),
        ("", ""),
        (-1.5, -1.5),
        (None, None),
    ],
)
def test_a_formula_is_written_as_text(cell: object, written: object) -> None:
    assert cells([cell]) == [written]
