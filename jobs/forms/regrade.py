"""Which grader to try on a stored trajectory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django import forms

from graders.models import GraderVersion
from hone.core.forms import PlainForm


class RegradeForm(PlainForm):
    """The newest version of each grader of the organisation."""

    version = forms.ChoiceField(label="Grader")

    def __init__(self, *args: Any, versions: Sequence[GraderVersion], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = self.fields["version"]
        assert isinstance(field, forms.ChoiceField)
        field.choices = [(version.pk, str(version)) for version in versions]
