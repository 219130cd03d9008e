"""CSV and Parquet files are read as rows of cells, one at a time, or refused by the line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hone.core.errors import UserError
from hone.datasets.tables import Columns, table_columns, table_kind, table_rows, task_lines


def _csv(folder: Path, content: bytes) -> Path:
    path = folder / "t.csv"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("name", "kind"),
    [("a.csv", "csv"), ("A.TSV", "csv"), ("a.parquet", "parquet"), ("a.jsonl", ""), ("csv", "")],
)
def test_a_table_is_known_by_its_name(name: str, kind: str) -> None:
    assert table_kind(name) == kind


@pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
def test_the_separator_is_that_of_the_first_line(tmp_path: Path, mark: str) -> None:
    path = _csv(tmp_path, f"\ufeffa{mark} b\r\n1{mark}x, y\r\n".replace("x, y", "x").encode())
    assert table_columns(path, "csv") == ["a", "b"]
    assert list(table_rows(path, "csv")) == [{"a": "1", "b": "x"}]


def test_quoted_cells_hold_commas_and_line_breaks(tmp_path: Path) -> None:
    path = _csv(tmp_path, 'q,a\n"one,\n""two""",2\n\nü,3\n'.encode())
    assert list(table_rows(path, "csv")) == [{"q": 'one,\n"two"', "a": "2"}, {"q": "ü", "a": "3"}]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "The table has 0 columns"),
        (b"a,a\n", "Two columns are called 'a'"),
        (b"a,,b\n", "Column 2 has no name"),
        (b"a,b\n1,2\n3\n", "Line 3 has 1 cells and the first line names 2 columns"),
        (b"a,b\n1,\xff\n", "it is not UTF-8"),
        (b'a,b\n1,"x\n', "cannot be read at line"),
        (b"a,b\n1," + b"x" * 1_000_001 + b"\n", "cannot be read at line"),
    ],
)
def test_a_table_that_cannot_be_read_is_refused(
    tmp_path: Path, content: bytes, sentence: str
) -> None:
    path = _csv(tmp_path, content)
    with pytest.raises(UserError, match=sentence):
        list(table_rows(path, "csv"))


NAMES = ["q", "a", "messages"]


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        (Columns("{{x}}"), "There is no column 'x'. The columns are q, a, messages."),
        (Columns("{{q}}", "{{y}}"), "There is no column 'y'"),
        (Columns("Question"), "No column is in the message. Write one as {{q}}."),
        (Columns("{{q}}", "", ("z",)), "The column 'z' cannot be kept"),
        (Columns("{{q}}", "", ("messages",)), "The column 'messages' cannot be kept"),
    ],
)
def test_columns_that_are_not_there_are_refused(columns: Columns, sentence: str) -> None:
    with pytest.raises(UserError) as caught:
        columns.refuse_unknown(NAMES)
    assert sentence in caught.value.message


def test_a_cell_with_braces_is_not_filled_again() -> None:
    row = Columns("{{q}}").row({"q": "{{a}}", "a": "secret"})
    assert row == {"messages": [{"role": "user", "content": "{{a}}"}]}


def test_parquet_keeps_the_kinds_of_values(tmp_path: Path) -> None:
    arrow: Any = pytest.importorskip("pyarrow", reason="needs the `parquet` extra")
    import pyarrow.parquet as parquet

    table = arrow.table(
        {"q": ["x", "y"], "n": [1, 2], "f": [0.5, float("nan")], "l": [["a"], []], "b": [b"z", b""]}
    )
    path = tmp_path / "t.parquet"
    parquet.write_table(table, path)
    columns = Columns("{{q}}: {{l}}", "", ("n", "f", "b"))
    assert [json.loads(line) for line in task_lines(path, "parquet", columns)] == [
        {"messages": [{"role": "user", "content": 'x: ["a"]'}], "n": 1, "f": 0.5, "b": "z"},
        {"messages": [{"role": "user", "content": "y: []"}], "n": 2, "f": None, "b": ""},
    ]


def test_what_is_no_parquet_file_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="needs the `parquet` extra")
    path = tmp_path / "t.parquet"
    path.write_bytes(b"PAR1 not really")
    with pytest.raises(UserError, match="This is no Parquet file"):
        table_columns(path, "parquet")


def test_a_date_that_python_cannot_hold_is_refused_by_its_row(tmp_path: Path) -> None:
    arrow: Any = pytest.importorskip("pyarrow", reason="needs the `parquet` extra")
    import pyarrow.parquet as parquet

    path = tmp_path / "t.parquet"
    parquet.write_table(arrow.table({"d": arrow.array([1, 2**30], arrow.date32())}), path)
    with pytest.raises(UserError, match="The table cannot be read after row 0: .*magnitude"):
        list(table_rows(path, "parquet"))


def test_a_kind_that_the_reader_lacks_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrow: Any = pytest.importorskip("pyarrow", reason="needs the `parquet` extra")
    import pyarrow.parquet as parquet

    class Lacking:
        schema_arrow = arrow.schema([("q", arrow.string())])

        def __init__(self, path: Path) -> None:
            pass

        def iter_batches(self, size: int) -> Any:
            raise arrow.ArrowNotImplementedError("no such kind")

    monkeypatch.setattr(parquet, "ParquetFile", Lacking)
    with pytest.raises(UserError, match="The table cannot be read after row 0: no such kind"):
        list(table_rows(tmp_path / "t.parquet", "parquet"))


def test_without_the_extra_parquet_is_refused_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(UserError, match="install Hone's `parquet` extra, or save the table as CSV"):
        table_columns(tmp_path / "t.parquet", "parquet")
