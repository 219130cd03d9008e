"""The test's database as a `DATABASE_URL`, for processes of their own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from django.db import connection


def database_url() -> str:
    """Where this test's connection leads."""
    return url_of(connection.vendor, connection.settings_dict)


def url_of(vendor: str, database: Mapping[str, Any]) -> str:
    """The URL of Django's settings for one database; whatever the password holds, it survives."""
    if vendor == "sqlite":
        return f"sqlite:///{database['NAME']}"
    user, password = (quote(str(database[key]), safe="") for key in ("USER", "PASSWORD"))
    return f"postgres://{user}:{password}@{database['HOST']}:{database['PORT']}/{database['NAME']}"
