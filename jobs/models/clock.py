"""Time is the database's: clocks of other machines decide nothing."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.db.models import DateTimeField, ExpressionWrapper
from django.db.models.functions import Now

from jobs.models.run import Run


def seconds_from_now(seconds: float) -> ExpressionWrapper[Any]:
    """An expression for use in queries and conditional updates."""
    return ExpressionWrapper(Now() + timedelta(seconds=seconds), output_field=DateTimeField())


def database_time(run_id: str) -> datetime | None:
    """The database's time now, read beside a run's row; None where the run is absent."""
    found = Run.objects.filter(pk=run_id).annotate(now=Now()).values_list("now", flat=True)
    return found.first()
