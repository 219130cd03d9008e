"""Forms that show the refusal of a service at the field that caused it."""

from __future__ import annotations

from typing import Any

from django import forms

from hone.core.errors import UserError

EMPTY = "This is empty. Fill it in."
WORDS = {
    "max_length": "This has %(show_value)s characters; at most %(limit_value)s fit. Shorten it.",
    "min_value": "This is %(show_value)s; use at least %(limit_value)s.",
    "max_value": "This is %(show_value)s; use at most %(limit_value)s.",
}
"""What a field says where it has no sentence of its own; Django's say neither value nor way out."""


class PlainForm(forms.Form):
    """A form whose labels end without a colon and which shows refusals of services."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"label_suffix": "", **kwargs})
        for field in self.fields.values():
            field.error_messages = {**WORDS, **field.error_messages}
            if field.error_messages["required"] == forms.Field.default_error_messages["required"]:
                field.error_messages["required"] = EMPTY

    def refuse(self, error: UserError) -> None:
        """Show `error` at its field, or above the form where it has none here."""
        self.add_error(error.field if error.field in self.fields else None, error.message)


def code_area(rows: int, **attrs: str) -> forms.Textarea:
    """A plain text area for source, which `editor.js` may enhance."""
    fixed = {"class": "code", "rows": str(rows), "spellcheck": "false", "autocapitalize": "off"}
    return forms.Textarea({**fixed, **attrs})
