"""Reads an upload once, in constant memory: checks, hash, row offsets and counts in one pass."""

from __future__ import annotations

import hashlib
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from hone.datasets.errors import DatasetRefused, Problem
from hone.datasets.rows import Row, check_row

LEAST_ROWS = 10
# A request to a tool or to a grader elsewhere carries the whole row and holds 1 MB at most.
LONGEST_LINE = 1_000_000
MOST_PROBLEMS = 100
MOST_KEYS = 200
LONGEST_KEY = 100
# What JSON calls white space: `bytes.strip` alone would take more.
BLANK = b" \t\r\n"


@dataclass
class Reading:
    """What is known of a file after it was read."""

    rows: int = 0
    size: int = 0
    longest_line: int = 0
    offsets: array[int] = field(default_factory=lambda: array("Q"))
    keys: Counter[str] = field(default_factory=Counter)
    tools: Counter[str] = field(default_factory=Counter)
    problems: list[Problem] = field(default_factory=list)
    total_problems: int = 0
    lines: int = 0
    _hash: Any = field(default_factory=hashlib.sha256)

    @property
    def sha256(self) -> str:
        digest: str = self._hash.hexdigest()
        return digest

    @property
    def report(self) -> dict[str, Any]:
        """What a version's page shows of its rows."""
        return {
            "keys": dict(self.keys.most_common()),
            "tools": dict(self.tools.most_common()),
            "longest_line": self.longest_line,
        }

    def note(self, problem: Problem) -> None:
        """Count a problem, and keep it if it is one of the first."""
        self.total_problems += 1
        if len(self.problems) < MOST_PROBLEMS:
            self.problems.append(problem)

    def line(self, text: bytes) -> None:
        """Take in one line with its line break."""
        self.lines += 1
        self._hash.update(text)
        content = text.strip(BLANK)
        if content:
            self._row(content)
        self.size += len(text)

    def _row(self, content: bytes) -> None:
        self.offsets.append(self.size)
        self.rows += 1
        self.longest_line = max(self.longest_line, len(content))
        checked = check_row(self.lines, content)
        if isinstance(checked, Row):
            _count(self.keys, checked.keys)
            _count(self.tools, checked.tools)
            return
        for problem in checked:
            self.note(problem)

    def refuse_if_unusable(self) -> None:
        """Raise DatasetRefused where the file has a problem."""
        if not self.problems and self.size == 0:
            message = f"The file is empty. Choose one with at least {LEAST_ROWS} tasks."
            self.note(Problem(0, "", "empty", message))
        elif not self.problems and self.rows < LEAST_ROWS:
            found = "1 row" if self.rows == 1 else f"{self.rows} rows"
            message = f"The file has {found}; at least {LEAST_ROWS} are needed. Add tasks."
            self.note(Problem(self.lines, "", "too_few_rows", message))
        if self.problems:
            raise DatasetRefused(self.problems, self.total_problems)


def _count(counts: Counter[str], names: Iterable[str]) -> None:
    """Count names; the first 200 are told apart, so that a hostile file fills no memory."""
    for name in names:
        shown = name[:LONGEST_KEY]
        if shown in counts or len(counts) < MOST_KEYS:
            counts[shown] += 1


def read_upload(chunks: Iterable[bytes], *, most_rows: int, most_bytes: int) -> Reading:
    """Read all chunks and return what is known of the file.

    Stops early where a limit is passed: the rest would only cost time. Raises DatasetRefused.
    """
    reading = Reading()
    for line in _lines(chunks, reading):
        if _begins_an_array(reading, line):
            reading.note(_one_array(reading))
            break
        reading.line(line)
        if reading.rows > most_rows:
            reading.note(_too_many(reading, most_rows))
            break
        if reading.lines - reading.rows > most_rows:
            reading.note(_too_empty(reading, most_rows))
            break
        if reading.size > most_bytes:
            reading.note(_too_large(reading, most_bytes))
            break
    reading.refuse_if_unusable()
    return reading


def _begins_an_array(reading: Reading, line: bytes) -> bool:
    return reading.rows == 0 and line.lstrip(BLANK).startswith(b"[")


def _lines(chunks: Iterable[bytes], reading: Reading) -> Iterator[bytes]:
    """Lines with their line breaks; a line over the limit ends the reading."""
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            if len(line) > LONGEST_LINE:
                reading.note(_too_long(reading, line))
                return
            yield line + b"\n"
        if len(rest) > LONGEST_LINE:
            reading.note(_too_long(reading, rest))
            return
    if rest:
        yield rest


def _one_array(reading: Reading) -> Problem:
    return Problem(
        reading.lines + 1,
        "",
        "array",
        "The file begins with `[`, so it is one JSON array. Write one object a line, without the "
        "brackets and the commas between them.",
    )


def _too_long(reading: Reading, beginning: bytes) -> Problem:
    if _begins_an_array(reading, beginning):
        return _one_array(reading)
    line = reading.lines + 1
    return Problem(
        line,
        "",
        "line_too_long",
        f"Line {line} has more than {LONGEST_LINE} bytes. A tool gets the whole row with each "
        "request, and a request holds 1 MB. Shorten the row, or check that the file has one JSON "
        "object a line.",
    )


def _too_many(reading: Reading, most: int) -> Problem:
    return Problem(
        reading.lines,
        "",
        "too_many_rows",
        f"The file has more than {most} rows, the limit here. Upload fewer, or ask the operator to "
        "raise HONE_MAX_DATASET_ROWS.",
    )


def _too_empty(reading: Reading, most: int) -> Problem:
    return Problem(
        reading.lines,
        "",
        "empty_lines",
        f"The file has more than {most} empty lines. Remove them.",
    )


def _too_large(reading: Reading, most: int) -> Problem:
    return Problem(
        reading.lines,
        "",
        "too_large",
        f"The file is larger than {most // 2**20} MB, the limit here. Upload a smaller one, or ask "
        "the operator to raise HONE_MAX_DATASET_BYTES.",
    )
