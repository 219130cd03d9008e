"""How much a preflight tries: two fields beside the form of a new job."""

from __future__ import annotations

from django import forms

from hone.core.forms import PlainForm
from jobs.services.preflights import (
    ATTEMPTS,
    FEWEST_ATTEMPTS,
    FEWEST_TASKS,
    MOST_ATTEMPTS,
    MOST_TASKS,
    TASKS,
)


class PreflightForm(PlainForm):
    """An empty field is its usual value."""

    preflight_tasks = forms.IntegerField(
        required=False,
        min_value=FEWEST_TASKS,
        max_value=MOST_TASKS,
        initial=TASKS,
        label="Tasks to try",
    )
    preflight_attempts = forms.IntegerField(
        required=False,
        min_value=FEWEST_ATTEMPTS,
        max_value=MOST_ATTEMPTS,
        initial=ATTEMPTS,
        label="Attempts each",
    )

    @property
    def tasks(self) -> int:
        return self.cleaned_data["preflight_tasks"] or TASKS

    @property
    def attempts(self) -> int:
        return self.cleaned_data["preflight_attempts"] or ATTEMPTS
