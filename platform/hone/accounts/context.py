"""What every template knows: the organisation, the others one could look at, and one's rights."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest

from hone.accounts.selectors import allows


def organisation(request: HttpRequest) -> dict[str, Any]:
    standing = getattr(request, "standing", None)
    current = standing.current if standing is not None else None
    if standing is None or current is None:
        return {"organisation": None, "organisations": [], "may_write": False, "may_admin": False}
    return {
        "organisation": current.organisation,
        "organisations": [each.organisation for each in standing.memberships],
        "may_write": allows(current.role, "write"),
        "may_admin": allows(current.role, "admin"),
    }
