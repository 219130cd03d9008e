"""The error that a person may read: what happened, the value, and what to do."""

from __future__ import annotations


class UserError(Exception):
    """A refusal to show as it is. `code` is for programs, `field` for the form that sent it."""

    def __init__(self, message: str, *, code: str = "invalid", field: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.field = field
