"""JSON lines that hold objects without `messages`, such as questions with answers: read as a table
whose columns are their keys."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from hone.core.errors import UserError

RECORDS = "records"
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
MOST_KEYS = 200
LINES_LOOKED_AT = 20


def is_record(line: bytes) -> bool:
    """Whether a file that begins with this line is to be read so: text by key, and no messages."""
    row = _object(line.removeprefix(BYTE_ORDER_MARK))
    if row is None or "messages" in row or not 0 < len(row) <= MOST_KEYS or "" in row:
        return False
    return any(isinstance(value, str) for value in row.values())


def record_names(path: Path) -> list[str]:
    """The keys of the first rows, in the order in which they appear."""
    with path.open("rb") as file:
        lines = [line.removeprefix(BYTE_ORDER_MARK) for line in islice(file, LINES_LOOKED_AT)]
    return list(dict.fromkeys(key for line in lines for key in _object(line) or ()))


def record_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The rows; a key that a row lacks is None."""
    names = record_names(path)
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            row = _object(line.removeprefix(BYTE_ORDER_MARK) if number == 1 else line)
            if row is None:
                raise UserError(
                    f"Line {number} is no JSON object. Write one object a line, all with the same "
                    "keys.",
                    code="json",
                    field="upload",
                )
            yield {name: row.get(name) for name in names}


def _object(line: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) else None
