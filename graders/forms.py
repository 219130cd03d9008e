"""The editor of a grader: its spec as JSON, or as Python source, and a sample to try it on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from django import forms

from graders.kinds.base import Sample
from graders.kinds.python.kind import KIND as PYTHON
from graders.kinds.registry import KINDS
from graders.services import tool_calls_from_text, typed_sample
from hone.core.errors import UserError
from hone.core.forms import PlainForm, code_area
from hone.core.json_text import object_from_text

_SOURCE = '''def grade(sample, item):
    """A reward from 0 to 1 for what the model answered."""
    answer = sample["output_text"].strip().lower()
    return 1.0 if str(item["answer"]).lower() in answer else 0.0
'''
_SIMILAR: dict[str, Any] = {
    "type": "text_similarity",
    "name": "closeness",
    "input": "{{sample.output_text}}",
    "reference": "{{item.answer}}",
    "evaluation_metric": "fuzzy_match",
}
_EXACT: dict[str, Any] = {
    "type": "string_check",
    "name": "exact answer",
    "input": "{{sample.output_text}}",
    "reference": "{{item.answer}}",
    "operation": "eq",
}
STARTS: dict[str, dict[str, Any]] = {
    "python": {"type": "python", "name": "python grader", "source": _SOURCE},
    "string_check": _EXACT,
    "text_similarity": _SIMILAR,
    "multi": {
        "type": "multi",
        "name": "exact and close",
        "graders": {"exact": _EXACT, "close": _SIMILAR},
        "calculate_output": "0.8 * exact + 0.2 * close",
    },
}
SAMPLE_START = {
    "output_text": "Paris",
    "output_tools": "",
    "item": '{"answer": "Paris"}',
}


class GraderForm(PlainForm):
    """What is typed in the editor; `spec()` and `sample()` read it and raise UserError."""

    name = forms.CharField(label="Name", max_length=200, required=False)
    source = forms.CharField(
        label="Source",
        required=False,
        strip=False,
        widget=code_area(20, **{"data-editor": ""}),
        help_text="Define grade(sample, item); it returns a number. It runs without network, "
        "files or packages of yours, in a process of its own.",
    )
    spec = forms.CharField(
        label="Spec",
        required=False,
        strip=False,
        widget=code_area(20, **{"data-editor": ""}),
        help_text="JSON. {{item.x}} reads the row, {{sample.output_text}} the answer.",
    )
    edited = forms.IntegerField(required=False, widget=forms.HiddenInput)
    output_text = forms.CharField(
        label="Answer",
        required=False,
        strip=False,
        widget=forms.Textarea({"rows": "3"}),
        help_text="If it is JSON, sample.output_json holds it; in a job only with a response "
        "format.",
    )
    output_tools = forms.CharField(
        label="Tool calls (JSON list)", required=False, strip=False, widget=code_area(3)
    )
    item = forms.CharField(
        label="Row (JSON object)", required=False, strip=False, widget=code_area(4)
    )

    def __init__(self, *args: Any, base: Mapping[str, Any], named: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.base = dict(base)
        self.kind = str(base["type"])
        self.title = KINDS[self.kind].title
        del self.fields["spec" if self.kind == PYTHON.type else "source"]
        if named:
            del self.fields["name"]

    def read_spec(self) -> dict[str, Any]:
        """The spec that is typed."""
        if self.kind != PYTHON.type:
            return object_from_text(self.cleaned_data["spec"], field="spec")
        source = self.cleaned_data["source"].replace("\r\n", "\n")
        return {**self.base, "source": source}

    def read_sample(self) -> tuple[Sample, dict[str, Any]]:
        """The sample and the row that are typed."""
        typed = self.cleaned_data
        calls = tool_calls_from_text(typed["output_tools"].strip(), field="output_tools")
        item = object_from_text(typed["item"].strip() or "{}", field="item")
        return typed_sample(typed["output_text"], calls), item

    @property
    def unsaved(self) -> bool:
        """Whether what is typed differs from what the page began with, line breaks aside."""
        return self.is_bound and any(
            self.data.get(name, "").replace("\r\n", "\n") != str(self.initial.get(name) or "")
            for name in self.fields
        )

    def refuse(self, error: UserError) -> None:
        """A refusal of the spec stands at the field that holds it here."""
        held = "source" if error.field == "spec" and "source" in self.fields else error.field
        # The field's label stands before it already.
        message = error.message.removeprefix(f"{held}: ")
        self.add_error(held if held in self.fields else None, message)


def typed_start(spec: Mapping[str, Any], edited: int | None = None) -> dict[str, Any]:
    """What the editor shows first for `spec`."""
    return {
        **SAMPLE_START,
        "name": "",
        "source": spec.get("source", ""),
        "spec": json.dumps(spec, indent=2, ensure_ascii=False),
        "edited": edited,
    }
