"""Refusals of the jobs app."""

from __future__ import annotations

from hone.core.errors import UserError


class Fenced(Exception):
    """Another holder has this run, or it has ended: write nothing more and stop."""

    def __init__(self, run_id: str, epoch: int) -> None:
        super().__init__(f"Epoch {epoch} of {run_id} is over: another worker holds the run.")


class JobRefused(UserError):
    """A job cannot be created as asked; `problems` has one sentence for each thing to mend."""

    def __init__(self, problems: list[tuple[str, str, str]]) -> None:
        self.problems = problems
        code, field, first = problems[0]
        more = f" ({len(problems) - 1} more problems)" if len(problems) > 1 else ""
        super().__init__(first + more, code=code, field=field)


class CannotStart(Exception):
    """A run's inputs are gone or cannot be used; trying again would fail the same way."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class MustPause(Exception):
    """A run cannot go on now, and can once somebody has mended what `message` says."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class StorageFailed(Exception):
    """The file storage did not do what was asked; it may the next time."""
