"""The audit row of a change, written in the transaction of the change."""

from __future__ import annotations

from typing import Any

from hone.accounts.models import AuditEntry, Organisation, User


def audit_record(
    *,
    acting_user: User | None,
    organisation: Organisation,
    action: str,
    target: str,
    detail: dict[str, Any] | None = None,
) -> None:
    """Write the audit row of a change; it says so where a program asked for it with a key."""
    key = acting_user.key if acting_user is not None else None
    by_key = {"key": f"{key.prefix}…"} if key is not None else {}
    AuditEntry.objects.create(
        organisation=organisation,
        actor=acting_user,
        action=action,
        target=target[:120],
        detail={**(detail or {}), **by_key},
    )
