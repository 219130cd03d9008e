"""A refused file's problems as a person reads them: each kind once, with the lines that have it."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable

from hone.datasets.errors import Problem

LINES_NAMED = 5


@dataclasses.dataclass
class Kind:
    """Problems of one code at one place of the row; `message` is that of the first."""

    field: str
    message: str
    lines: list[int] = dataclasses.field(default_factory=list)
    more: int = 0

    def add(self, line: int) -> None:
        if len(self.lines) < LINES_NAMED:
            self.lines.append(line)
        else:
            self.more += 1


def problem_kinds(problems: Iterable[Problem]) -> list[Kind]:
    """The kinds in the order in which they appear."""
    kinds: dict[tuple[str, str], Kind] = {}
    for each in problems:
        key = each.code, re.sub(r"\[\d+\]", "[]", each.field)
        kinds.setdefault(key, Kind(each.field, each.message)).add(each.line)
    return list(kinds.values())
