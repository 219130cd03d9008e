"""Forms that show the refusal of a service at the field that caused it."""

from __future__ import annotations

from typing import Any

from django import forms

from hone.core.errors import UserError


class PlainForm(forms.Form):
    """A form whose labels end without a colon and which shows refusals of services."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"label_suffix": "", **kwargs})

    def refuse(self, error: UserError) -> None:
        """Show `error` at its field, or above the form where it has none here."""
        self.add_error(error.field if error.field in self.fields else None, error.message)


def code_area(rows: int, **attrs: str) -> forms.Textarea:
    """A plain text area for source, which `editor.js` may enhance."""
    fixed = {"class": "code", "rows": str(rows), "spellcheck": "false", "autocapitalize": "off"}
    return forms.Textarea({**fixed, **attrs})
