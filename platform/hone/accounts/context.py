"""What every template knows: the organisation, the others one could look at, and one's rights."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest

from hone.accounts.models import User
from hone.accounts.selectors import may, organisations_of


def organisation(request: HttpRequest) -> dict[str, Any]:
    chosen = getattr(request, "organisation", None)
    user = getattr(request, "user", None)
    if chosen is None or not isinstance(user, User):
        return {"organisation": None, "organisations": [], "may_write": False, "may_admin": False}
    return {
        "organisation": chosen,
        "organisations": organisations_of(user),
        "may_write": may(user, chosen.id, "write"),
        "may_admin": may(user, chosen.id, "admin"),
    }
