"""Public ids: a prefix that says what it is, and 64 random bits."""

from __future__ import annotations

import secrets


def new_id(prefix: str) -> str:
    """`new_id("ftjob")` → `ftjob-3f9c0a51d2e47b86`."""
    return f"{prefix}-{secrets.token_hex(8)}"
