"""A file is read once, in constant memory, whatever is in it."""

from __future__ import annotations

import hashlib
import json
import sys
import time
import tracemalloc
from collections.abc import Iterator

import pytest

from hone.datasets.errors import DatasetRefused
from hone.datasets.reading import LONGEST_LINE, Reading, read_upload

LINE = b'{"messages":[{"role":"user","content":"x"}],"n":1}\n'
AHEAD = 1
"""A chunk is read while the one before it is looked at."""


def _read(*chunks: bytes, most_rows: int = 1000, most_bytes: int = 10**9) -> Reading:
    return read_upload(chunks, most_rows=most_rows, most_bytes=most_bytes)


def _refused(
    *chunks: bytes, most_rows: int = 1000, most_bytes: int = 10**9
) -> tuple[DatasetRefused, int]:
    """The refusal, and how many of the chunks were read."""
    left = iter(chunks)
    with pytest.raises(DatasetRefused) as caught:
        read_upload(left, most_rows=most_rows, most_bytes=most_bytes)
    return caught.value, len(chunks) - len(list(left))


def test_a_good_file_is_hashed_counted_and_indexed() -> None:
    reading = _read(LINE * 10)
    assert (reading.rows, reading.size, reading.lines) == (10, 10 * len(LINE), 10)
    assert reading.sha256 == hashlib.sha256(LINE * 10).hexdigest()
    assert list(reading.offsets) == [place * len(LINE) for place in range(10)]
    assert reading.report == {
        "keys": {"messages": 10, "n": 10},
        "tools": {},
        "longest_line": len(LINE) - 1,
    }


def test_chunks_may_end_anywhere() -> None:
    whole = LINE * 10
    for size in (1, 7, len(LINE), 1000):
        chunks = [whole[start : start + size] for start in range(0, len(whole), size)]
        assert _read(*chunks).offsets == _read(whole).offsets


def test_the_last_line_needs_no_line_break() -> None:
    assert _read(LINE * 9, LINE.rstrip()).rows == 10


def test_empty_lines_are_no_rows_but_count_as_lines() -> None:
    reading = _read(b"\n  \t\r\n", (LINE + b"\n") * 10)
    assert (reading.rows, reading.lines) == (10, 22)
    assert reading.offsets[0] == 6
    error, _ = _refused(b"\n\n", LINE * 9, b"[]\n")
    assert error.problems[0].line == 12


def test_windows_line_breaks_are_read() -> None:
    reading = _read(LINE.replace(b"\n", b"\r\n") * 10)
    assert (reading.rows, reading.longest_line) == (10, len(LINE) - 1)


def test_other_white_space_around_a_row_is_refused() -> None:
    error, _ = _refused(LINE * 9, b"\x0c" + LINE)
    assert (error.problems[0].line, error.problems[0].code) == (10, "json")


@pytest.mark.parametrize(("rows", "found"), [(1, "1 row"), (9, "9 rows")])
def test_a_file_has_at_least_ten_rows(rows: int, found: str) -> None:
    error, _ = _refused(LINE * rows)
    assert error.message == f"The file has {found}; at least 10 are needed. Add tasks."
    assert (error.code, error.field, error.total) == ("too_few_rows", "upload", 1)


def test_a_file_of_blank_lines_has_no_rows() -> None:
    error, _ = _refused(b"\n \n")
    assert error.message == "The file has 0 rows; at least 10 are needed. Add tasks."


def test_an_empty_file_is_called_so() -> None:
    error, _ = _refused()
    assert error.message == "The file is empty. Choose one with at least 10 tasks."
    assert (error.code, error.total, error.problems[0].line) == ("empty", 1, 0)


@pytest.mark.parametrize(
    ("chunks", "line"),
    [
        ([b"[\n", b"  {\n" * 200, b"]\n"], 1),
        ([b"\n \t[" + LINE[:-1] + b"]"], 2),
        ([b"[" + b" " * LONGEST_LINE], 1),
        ([b"[" + b" " * LONGEST_LINE + b"\n"], 1),
    ],
)
def test_one_json_array_is_one_problem(chunks: list[bytes], line: int) -> None:
    error, _ = _refused(*chunks)
    assert error.message == (
        "The file begins with `[`, so it is one JSON array. Write one object a line, without the "
        "brackets and the commas between them."
    )
    assert (error.code, error.total, error.problems[0].line) == ("array", 1, line)


def test_an_array_further_down_is_a_bad_row() -> None:
    error, _ = _refused(LINE * 9, b"[]\n")
    assert [(each.line, each.code) for each in error.problems] == [(10, "shape")]


def test_a_short_file_with_a_fault_tells_only_the_fault() -> None:
    error, _ = _refused(b"{}\n")
    assert [problem.code for problem in error.problems] == ["messages_missing"]


def test_too_many_rows_end_the_reading() -> None:
    error, read = _refused(*[LINE] * 10, LINE, *[b"never read"] * 50, most_rows=10)
    assert (error.code, error.problems[0].line) == ("too_many_rows", 11)
    assert error.message == (
        "The file has more than 10 rows, the limit here. Upload fewer, or ask the operator to "
        "raise HONE_MAX_DATASET_ROWS."
    )
    assert read == 11 + AHEAD


def test_too_many_bytes_end_the_reading() -> None:
    error, read = _refused(*[LINE] * 100, most_bytes=12 * len(LINE))
    assert error.code == "too_large"
    assert read == 13 + AHEAD
    error, _ = _refused(*[LINE * 1000] * 50, most_bytes=2**20, most_rows=10**6)
    assert error.message == (
        "The file is larger than 1 MB, the limit here. Upload a smaller one, or ask the operator "
        "to raise HONE_MAX_DATASET_BYTES."
    )


def test_endless_empty_lines_end_the_reading() -> None:
    error, _ = _refused(b"\n" * 5000, most_rows=100)
    assert error.message == "The file has more than 100 empty lines. Remove them."


@pytest.mark.parametrize("end", [b"", b"\n"])
def test_an_endless_line_ends_the_reading(end: bytes) -> None:
    endless = [LINE * 2, *[b"x" * 2**17] * 7, b"x" * 2**17 + end, *[b"never read"] * 9]
    error, read = _refused(*endless)
    assert error.message == (
        "Line 3 has more than 1000000 bytes. A tool gets the whole row with each request, and a "
        "request holds 1 MB. Shorten the row, or check that the file has one JSON object a line."
    )
    assert (error.code, error.problems[0].line) == ("line_too_long", 3)
    assert read == 9 + AHEAD


def test_a_line_of_just_the_limit_is_read() -> None:
    longest = LINE.replace(b"x", b"x" * (LONGEST_LINE - len(LINE) + 2))
    assert len(longest) == LONGEST_LINE + 1
    assert _read(LINE * 9, longest).longest_line == LONGEST_LINE
    assert _refused(LINE * 9, longest.replace(b"x", b"xx", 1))[0].code == "line_too_long"


def test_a_long_line_inside_a_chunk_is_found_too() -> None:
    error, _ = _refused(LINE, b'"' + b"x" * LONGEST_LINE + b'"\n' + LINE)
    assert (error.code, error.problems[0].line) == ("line_too_long", 2)


def test_the_first_hundred_problems_are_kept_and_all_are_counted() -> None:
    error, _ = _refused(LINE * 5, b"{}\n" * 250)
    assert (len(error.problems), error.total) == (100, 250)
    assert [problem.line for problem in error.problems] == list(range(6, 106))
    assert error.message == (
        "Line 6 has no `messages`. Keys present: none. Add messages that end with the user. "
        "And 249 more."
    )


def test_keys_are_told_apart_up_to_two_hundred() -> None:
    rows = [
        json.dumps({"messages": [{"role": "user", "content": "x"}], f"{n:04}{'k' * 5000}": 1})
        for n in range(500)
    ]
    report = _read("\n".join(rows).encode()).report
    assert report["keys"]["messages"] == 500
    assert len(report["keys"]) == 200
    assert max(map(len, report["keys"])) == 100


@pytest.mark.slow
def test_a_hundred_megabytes_are_read_in_constant_memory(
    capsys: pytest.CaptureFixture[str],
) -> None:
    row = {
        "messages": [{"role": "user", "content": "How many? " * 200}],
        "tools": [
            {
                "type": "function",
                "function": {"name": "search", "parameters": {"type": "object"}},
            }
        ],
        "answer": "42",
    }
    line = json.dumps(row).encode() + b"\n"
    rows = 100 * 2**20 // len(line)

    def chunks() -> Iterator[bytes]:
        for _ in range(rows // 32):
            yield line * 32

    def peak(most_rows: int) -> int:
        tracemalloc.start()
        with pytest.raises(DatasetRefused):
            read_upload(chunks(), most_rows=most_rows, most_bytes=10**9)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    started = time.perf_counter()
    reading = read_upload(chunks(), most_rows=10**6, most_bytes=10**9)
    seconds = time.perf_counter() - started
    with capsys.disabled():
        sys.stdout.write(f"\n{reading.size / 2**20 / seconds:.0f} MB/s\n")
    assert reading.size > 95 * 2**20
    assert reading.size / 2**20 / seconds > 10
    small, large = peak(2_000), peak(rows // 32 * 32 - 1)
    assert large < small + 2 * 2**20
