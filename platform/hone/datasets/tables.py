"""CSV and Parquet files read as rows of cells, and written as task rows. Streamed.

A table says what is in its columns only by their names, so a person says which of them make the
messages and which are kept for graders and tools.
"""

from __future__ import annotations

import csv
import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePath
from typing import Any

from hone.core.errors import UserError
from hone.datasets.records import RECORDS, record_names, record_rows

SUFFIXES = {".csv": "csv", ".tsv": "csv", ".parquet": "parquet", ".pq": "parquet"}
MOST_COLUMNS = 200
LONGEST_CELL = 1_000_000
ROWS_AT_ONCE = 256
UNREADABLE = (OSError, ValueError, OverflowError, NotImplementedError)
"""What pyarrow raises over a damaged file, values that Python cannot hold and kinds it lacks."""
RESERVED = frozenset({"messages", "tools"})
_PLACE = re.compile(r"\{\{\s*([^{}]+?)\s*\}\}")

Cells = dict[str, Any]


@dataclass(frozen=True)
class Columns:
    """What a task row is made of: texts with `{{column}}` in them, and the columns kept beside."""

    user: str
    system: str = ""
    keep: tuple[str, ...] = ()

    def row(self, cells: Cells) -> dict[str, Any]:
        """The task row of a table's row."""
        said = [("system", self.system), ("user", self.user)]
        messages = [
            {"role": role, "content": _filled(text, cells)} for role, text in said if text.strip()
        ]
        return {"messages": messages, **{name: cells[name] for name in self.keep}}

    def refuse_unknown(self, names: Sequence[str]) -> None:
        """Raise UserError where a text or the list names a column that the table lacks."""
        shown = ", ".join(names[:20])
        for field, text in (("user", self.user), ("system", self.system)):
            for name in _PLACE.findall(text):
                if name not in names:
                    message = f"There is no column {name[:80]!r}. The columns are {shown}."
                    raise UserError(message, code="column", field=field)
        if not _PLACE.search(self.user):
            message = f"No column is in the message. Write one as {{{{{names[0]}}}}}."
            raise UserError(message, code="column", field="user")
        for name in self.keep:
            if name not in names or name in RESERVED:
                message = f"The column {name[:80]!r} cannot be kept. Choose among {shown}."
                raise UserError(message, code="column", field="keep")


def table_kind(filename: str) -> str:
    """`csv`, `parquet`, or nothing for a file that is no table."""
    return SUFFIXES.get(PurePath(filename).suffix.lower(), "")


def table_columns(path: Path, kind: str) -> list[str]:
    """The names of the columns."""
    if kind == RECORDS:
        return _checked(record_names(path))
    return _parquet_names(path) if kind == "parquet" else _csv_names(path)


def table_rows(path: Path, kind: str) -> Iterator[Cells]:
    """The rows, one at a time; raises UserError with the line where one cannot be read."""
    if kind == RECORDS:
        return record_rows(path)
    return _parquet_rows(path) if kind == "parquet" else _csv_rows(path)


def first_rows(path: Path, kind: str, count: int) -> list[Cells]:
    return list(islice(table_rows(path, kind), count))


def task_lines(path: Path, kind: str, columns: Columns) -> Iterator[bytes]:
    """The table as a task file."""
    columns.refuse_unknown(table_columns(path, kind))
    for cells in table_rows(path, kind):
        yield json.dumps(columns.row(cells), ensure_ascii=False, default=str).encode() + b"\n"


def _filled(text: str, cells: Cells) -> str:
    return _PLACE.sub(lambda found: _shown(cells[found[1]]), text)


def _shown(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _csv_names(path: Path) -> list[str]:
    with path.open(encoding="utf-8-sig", newline="", errors="strict") as file:
        try:
            names = next(csv.reader(file, _dialect(file)), [])
        except (csv.Error, UnicodeDecodeError) as error:
            raise _unreadable(1, error) from error
    return _checked([name.strip() for name in names])


def _csv_rows(path: Path) -> Iterator[Cells]:
    names = _csv_names(path)
    csv.field_size_limit(LONGEST_CELL)
    with path.open(encoding="utf-8-sig", newline="", errors="strict") as file:
        reader = csv.reader(file, _dialect(file), strict=True)
        try:
            next(reader)
            for values in reader:
                if not values:
                    continue
                if len(values) != len(names):
                    raise UserError(
                        f"Line {reader.line_num} has {len(values)} cells and the first line names "
                        f"{len(names)} columns. Put a text with commas into quotation marks.",
                        code="cells",
                        field="upload",
                    )
                yield dict(zip(names, values, strict=True))
        except (csv.Error, UnicodeDecodeError) as error:
            raise _unreadable(reader.line_num + 1, error) from error


def _dialect(file: Any) -> type[csv.Dialect]:
    """The separator that the first line has most of; the file is at its beginning again."""
    head = file.readline(LONGEST_CELL)
    file.seek(0)

    class Dialect(csv.excel):
        delimiter = max(",;\t|", key=head.count)

    return Dialect


def _checked(names: list[str]) -> list[str]:
    twice = next((name for name, times in Counter(names).items() if times > 1), None)
    if not names or len(names) > MOST_COLUMNS:
        problem = f"The table has {len(names)} columns; from 1 to {MOST_COLUMNS} are read."
    elif "" in names:
        problem = f"Column {names.index('') + 1} has no name. Name it in the first line."
    elif twice is not None:
        problem = f"Two columns are called {twice[:80]!r}. Give each a name of its own."
    else:
        return names
    raise UserError(problem, code="columns", field="upload")


def _unreadable(line: int, error: Exception) -> UserError:
    encoding = isinstance(error, UnicodeDecodeError)
    why = "it is not UTF-8. Save the file as UTF-8" if encoding else f"{error}"
    text = f"The table cannot be read at line {line}: {why}."
    return UserError(text, code="table", field="upload")


def _parquet_file(path: Path) -> Any:
    try:
        import pyarrow.parquet as parquet  # noqa: PLC0415 - an extra; large, so loaded when asked
    except ImportError as error:
        raise UserError(
            "Parquet files are not read here yet. Ask the operator to install Hone's `parquet` "
            "extra, or save the table as CSV.",
            code="no_parquet",
            field="upload",
        ) from error
    try:
        return parquet.ParquetFile(path)
    except UNREADABLE as error:
        text = f"This is no Parquet file: {str(error)[:200]}. Save the table again."
        raise UserError(text, code="table", field="upload") from error


def _parquet_names(path: Path) -> list[str]:
    return _checked(list(_parquet_file(path).schema_arrow.names))


def _parquet_rows(path: Path) -> Iterator[Cells]:
    _parquet_names(path)
    done = 0
    try:
        for batch in _parquet_file(path).iter_batches(ROWS_AT_ONCE):
            for cells in batch.to_pylist():
                done += 1
                yield {name: _carried(value) for name, value in cells.items()}
    except UNREADABLE as error:
        text = f"The table cannot be read after row {done}: {str(error)[:200]}."
        raise UserError(text, code="table", field="upload") from error


def _carried(value: Any) -> Any:
    """The value as JSON can carry it: no NaN, bytes as text."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value
