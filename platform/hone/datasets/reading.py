"""Reads an upload once, in constant memory: checks, hash, row offsets and counts in one pass.

Lines are taken in by the batch; where one has a problem, or a limit is near, line by line.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np

from hone.datasets.batches import BatchCheck, Lines
from hone.datasets.errors import DatasetRefused, Problem
from hone.datasets.rows import Row, check_row

LEAST_ROWS = 10
# A request to a tool or to a grader elsewhere carries the whole row and holds 1 MB at most.
LONGEST_LINE = 1_000_000
MOST_PROBLEMS = 100
FEWEST_A_BATCH = 4
OFFSET_BYTES = 8
MOST_INDEX_BYTES = 1 << 20
"""Of row offsets in memory."""
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
    index: IO[bytes] = field(default_factory=lambda: index_file(None))
    keys: Counter[str] = field(default_factory=Counter)
    tools: Counter[str] = field(default_factory=Counter)
    problems: list[Problem] = field(default_factory=list)
    total_problems: int = 0
    lines: int = 0
    _hash: Any = field(default_factory=hashlib.sha256)
    _batches: BatchCheck = field(default_factory=BatchCheck)

    @property
    def offsets(self) -> list[int]:
        """Where the rows begin; for few rows, as all of them are in memory then."""
        self.index.seek(0)
        packed = self.index.read()
        found: list[int] = np.frombuffer(packed, "<u8").tolist()
        return found

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

    def hashed(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """The same chunks; each is in the hash before it is looked at."""
        for chunk in chunks:
            self._hash.update(chunk)
            yield chunk

    def batch(self, lines: Lines) -> bool:
        """Take in lines that ended with a line break, if each is a row with nothing around it."""
        counts = self._batches.sound(lines)
        if counts is None:
            return False
        self.index.write((lines.starts + self.size).astype("<u8").tobytes())
        self.size += len(lines.text) + 1
        self.rows += len(lines)
        self.lines += len(lines)
        self.longest_line = max(self.longest_line, int(lines.lengths.max()))
        for names, found in ((self.keys, counts[0]), (self.tools, counts[1])):
            for shape, times in found.items():
                _count(names, shape, times)
        return True

    def line(self, text: bytes) -> None:
        """Take in one line with its line break."""
        self.lines += 1
        content = text.strip(BLANK)
        if content:
            self._row(content)
        self.size += len(text)

    def _row(self, content: bytes) -> None:
        self.index.write(self.size.to_bytes(OFFSET_BYTES, "little"))
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


def index_file(folder: Path | None) -> IO[bytes]:
    """Where row offsets are kept: in memory while they are few, and then in a file there."""
    return tempfile.SpooledTemporaryFile(MOST_INDEX_BYTES, dir=str(folder) if folder else None)


def _count(counts: Counter[str], names: Iterable[str], times: int = 1) -> None:
    """Count names; the first 200 are told apart, so that a hostile file fills no memory."""
    for name in names:
        shown = name[:LONGEST_KEY]
        if shown in counts or len(counts) < MOST_KEYS:
            counts[shown] += times


@dataclass(frozen=True)
class Limits:
    """What the operator allows."""

    rows: int
    bytes: int


def read_upload(
    chunks: Iterable[bytes],
    *,
    most_rows: int,
    most_bytes: int,
    seen: Callable[[Reading], None] | None = None,
    folder: Path | None = None,
) -> Reading:
    """Read all chunks and return what is known of the file; `seen` is told after each.

    Stops early where a limit is passed: the rest would only cost time. Raises DatasetRefused.
    Many offsets go to a temporary file in `folder`.
    """
    reading, limits = Reading(index=index_file(folder)), Limits(most_rows, most_bytes)
    for text, end in _batches(_ahead(reading.hashed(chunks))):
        if not _taken(reading, Lines(text), end, limits):
            break
        if seen is not None:
            seen(reading)
    reading.refuse_if_unusable()
    return reading


def _ahead(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The same chunks; the next one is read and hashed while this one is looked at."""
    with ThreadPoolExecutor(1, thread_name_prefix="read-ahead") as reader:
        coming = reader.submit(next, chunks, None)
        while (chunk := coming.result()) is not None:
            coming = reader.submit(next, chunks, None)
            yield chunk


def _batches(chunks: Iterable[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """Lines without the last line break, and that; a line over the limit is not whole."""
    rest = b""
    for chunk in chunks:
        whole, found, rest = (rest + chunk).rpartition(b"\n")
        if found:
            yield whole, found
        if len(rest) > LONGEST_LINE:
            break
    if rest:
        yield rest, b""


def _taken(reading: Reading, lines: Lines, end: bytes, limits: Limits) -> bool:
    """Whether the reading goes on after these lines. Halves them until those at fault are few."""
    if _fits(reading, lines, limits) and end and reading.batch(lines):
        return True
    if len(lines) > FEWEST_A_BATCH:
        return all(_taken(reading, part, end, limits) for part in lines.halves())
    return all(_line_taken(reading, line, end, limits) for line in lines.each())


def _fits(reading: Reading, lines: Lines, limits: Limits) -> bool:
    """Whether no limit can be passed inside the batch."""
    return (
        reading.rows + len(lines) <= limits.rows
        and reading.size + len(lines.text) + 1 <= limits.bytes
        and int(lines.lengths.max()) <= LONGEST_LINE
    )


def _line_taken(reading: Reading, line: bytes, end: bytes, limits: Limits) -> bool:
    """Take in one line, and whether the reading goes on after it."""
    if len(line) > LONGEST_LINE:
        reading.note(_too_long(reading, line))
        return False
    if _begins_an_array(reading, line):
        reading.note(_one_array(reading))
        return False
    reading.line(line + end)
    passed = _limit_passed(reading, limits)
    if passed is not None:
        reading.note(passed)
    return passed is None


def _limit_passed(reading: Reading, limits: Limits) -> Problem | None:
    if reading.rows > limits.rows:
        return _too_many(reading, limits.rows)
    if reading.lines - reading.rows > limits.rows:
        return _too_empty(reading, limits.rows)
    if reading.size > limits.bytes:
        return _too_large(reading, limits.bytes)
    return None


def _begins_an_array(reading: Reading, line: bytes) -> bool:
    return reading.rows == 0 and line.lstrip(BLANK).startswith(b"[")


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
