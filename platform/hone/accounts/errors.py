"""Refusals of the accounts app."""

from __future__ import annotations

from hone.core.errors import UserError


class LastOwner(UserError):
    """An organisation keeps at least one owner."""

    def __init__(self) -> None:
        super().__init__(
            "This is the last owner of the organisation. Make somebody else an owner first.",
            code="last_owner",
        )


class TooManyFailures(UserError):
    """Sign-in is refused for a while, also with the right password."""

    def __init__(self) -> None:
        super().__init__(
            "There were 10 failed sign-ins for this address and e-mail in 15 minutes, so more "
            "are refused for now. Wait up to 15 minutes, or ask an owner for a new password.",
            code="too_many_failures",
        )
