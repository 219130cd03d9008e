"""Forms of fixtures: a sample typed by hand, and the score that it must get."""

from __future__ import annotations

from typing import Any

from django import forms

from graders.kinds.base import Sample
from graders.services import Wanted, tool_calls_from_text, typed_sample
from hone.core.forms import PlainForm, code_area
from hone.core.json_text import object_from_text


class RangeForm(PlainForm):
    """Which scores a fixture may get."""

    name = forms.CharField(label="Name", max_length=100)
    low = forms.FloatField(label="Least score")
    high = forms.FloatField(
        label="Most score", required=False, help_text="Empty: exactly the least score."
    )

    def wanted(self) -> Wanted:
        """What is typed; raises UserError where no score could fit."""
        typed = self.cleaned_data
        high = typed["low"] if typed["high"] is None else typed["high"]
        return Wanted(typed["name"], typed["low"], high)


class FixtureForm(RangeForm):
    """A whole fixture."""

    output_text = forms.CharField(
        label="Answer", required=False, strip=False, widget=forms.Textarea({"rows": "4"})
    )
    output_tools = forms.CharField(
        label="Tool calls (JSON list)", required=False, strip=False, widget=code_area(3)
    )
    item = forms.CharField(
        label="Row (JSON object)", required=False, strip=False, widget=code_area(4)
    )

    def read_sample(self) -> tuple[Sample, dict[str, Any]]:
        """The sample and the row that are typed; raises UserError."""
        typed = self.cleaned_data
        calls = tool_calls_from_text(typed["output_tools"].strip(), field="output_tools")
        item = object_from_text(typed["item"].strip() or "{}", field="item")
        return typed_sample(typed["output_text"].replace("\r\n", "\n"), calls), item
