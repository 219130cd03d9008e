"""Refusals of the datasets app."""

from __future__ import annotations

from dataclasses import dataclass

from hone.core.errors import UserError


@dataclass(frozen=True)
class Problem:
    """One fault of a file: `line` counts from one, `field` is the place in the row."""

    line: int
    field: str
    code: str
    message: str


class DatasetRefused(UserError):
    """A file that cannot be used: the first problems, and how many there are in all."""

    def __init__(self, problems: list[Problem], total: int) -> None:
        first = problems[0]
        more = f" And {total - 1} more." if total > 1 else ""
        super().__init__(f"{first.message}{more}", code=first.code, field="upload")
        self.problems = problems
        self.total = total


class DiskFull(UserError):
    """There is no room for the file; nothing was kept."""

    def __init__(self) -> None:
        super().__init__(
            "The disk is full, so the file was not kept. Ask the operator to free some space, "
            "then upload it again.",
            code="disk_full",
            field="upload",
        )


class IntakeLost(Exception):
    """Another worker has the intake, or it is gone: what was being made is thrown away."""
