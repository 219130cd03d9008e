"""JSON in the database, exactly as it was given."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from django.db import models

if TYPE_CHECKING:
    _Text = models.JSONField  # typed as what it holds, not as how it is stored
else:
    _Text = models.TextField


class OrderedJSONField(_Text):
    """JSON that keeps the order of its keys on every database; PostgreSQL's `jsonb` sorts them.

    For what a model or a user reads again: the order of a tool's parameters is part of the prompt,
    so the same job must not be trained on another prompt because its database is another one.
    """

    def from_db_value(self, value: str | None, expression: object, connection: object) -> Any:
        return None if value is None else json.loads(value)

    def get_prep_value(self, value: Any) -> Any:
        return None if value is None else json.dumps(value)

    def to_python(self, value: Any) -> Any:
        return value

    def value_to_string(self, obj: models.Model) -> str:
        return json.dumps(self.value_from_object(obj))
