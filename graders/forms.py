"""The editor of a grader: its spec as JSON, or as Python source, and a sample to try it on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django import forms

from graders.kinds.base import Sample
from graders.kinds.python.kind import KIND as PYTHON
from graders.kinds.wire import read_pasted
from graders.services import tool_calls_from_text, typed_sample
from hone.core.errors import UserError
from hone.core.forms import PlainForm, code_area
from hone.core.json_text import object_from_text


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
        help_text="JSON. {{item.x}} reads the row, {{sample.output_text}} the answer. The whole "
        "body of a fine-tuning job will do: the grader in it is taken.",
    )
    edited = forms.IntegerField(required=False, widget=forms.HiddenInput)
    reason = forms.CharField(
        label="Why save it although fixtures fail",
        required=False,
        max_length=500,
        help_text="It is kept with the version, and in the audit log.",
    )
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
        self.kind = str(base.get("type", "JSON"))
        self.notes: tuple[str, ...] = ()
        del self.fields["spec" if self.kind == PYTHON.type else "source"]
        if named:
            del self.fields["name"]

    def read_spec(self) -> dict[str, Any]:
        """The spec that is typed; `notes` say what was made of JSON from elsewhere."""
        if self.kind != PYTHON.type:
            pasted = read_pasted(object_from_text(self.cleaned_data["spec"], field="spec"))
            self.notes = pasted.notes
            return pasted.spec
        source = self.cleaned_data["source"].replace("\r\n", "\n")
        return {**self.base, "source": source}

    def read_name(self, spec: Mapping[str, Any]) -> str:
        """The name that is typed, else the one in the spec."""
        inside = spec.get("name")
        return self.cleaned_data["name"] or (inside if isinstance(inside, str) else "")

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
