"""Asking for a password in a terminal."""

from __future__ import annotations

import getpass

from django.core.management.base import CommandError


def asked_password(prompt: str, *, way_out: str) -> str:
    """What is typed; without a terminal, or at its end, `way_out` says what to do instead."""
    try:
        return getpass.getpass(prompt)
    except EOFError as error:
        raise CommandError(f"No password was typed, and nothing was changed. {way_out}") from error
