"""CSV that a spreadsheet opens as text: no cell of a person's or a model's becomes a formula."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator

FORMULA = ("=", "+", "-", "@", "\t", "\r")


def cells(row: Iterable[object]) -> list[object]:
    """The row for `csv.writer`; a text that a spreadsheet would compute has a `'` before it."""
    return [
        f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA) else cell for cell in row
    ]


def csv_lines(rows: Iterable[Iterable[object]]) -> Iterator[str]:
    """Each row as a line of CSV, to be sent while the next one is read."""
    writer = csv.writer(_Line())
    for row in rows:
        yield writer.writerow(row)


class _Line:
    """A file for `csv` that gives each line back."""

    def write(self, text: str) -> str:
        return text
