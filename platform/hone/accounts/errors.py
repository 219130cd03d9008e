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
            "are refused for now, the right password too. Wait up to 15 minutes. If you forgot it, "
            "an owner or admin of your organisation can set a new one meanwhile.",
            code="too_many_failures",
        )


class SharedAccount(UserError):
    """A password opens all of a person's organisations, so no single one of them may set it."""

    def __init__(self, email: str) -> None:
        super().__init__(
            f"{email} belongs to another organisation too, so it is not yours to set the password. "
            f"The operator can, with `python manage.py set_password {email}`.",
            code="shared_account",
        )


class BadKey(UserError):
    """A key that opens nothing, or nothing any more."""

    def __init__(self, code: str, what: str) -> None:
        super().__init__(
            f"{what} Make one under Settings, API keys, and send it as "
            "`Authorization: Bearer hone_…`.",
            code=code,
        )
