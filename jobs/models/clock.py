"""Time is the database's: clocks of other machines decide nothing."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.db.models import DateTimeField, ExpressionWrapper
from django.db.models.functions import Now


def seconds_from_now(seconds: float) -> ExpressionWrapper[Any]:
    """An expression for use in queries and conditional updates."""
    return ExpressionWrapper(Now() + timedelta(seconds=seconds), output_field=DateTimeField())
