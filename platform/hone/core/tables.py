"""Whether there is anything to write to: commands ask before they ask people."""

from __future__ import annotations

from django.db import connection
from django.db.migrations.recorder import MigrationRecorder

from hone.core.errors import UserError


def require_tables() -> None:
    """Refuse with a sentence where `migrate` never ran on this database."""
    if not MigrationRecorder(connection).has_table():
        raise UserError(
            "The database has no tables yet. Run `make up` or `python manage.py migrate`.",
            code="no_tables",
        )
