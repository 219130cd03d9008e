"""Forms of tools: what a version says, and a call from the page."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from django import forms

from hone.core.errors import UserError
from hone.core.forms import PlainForm, code_area
from hone.core.json_text import object_from_text
from hone.tools.models import Effects, ToolVersion
from hone.tools.selectors import masked_headers
from hone.tools.services import LONGEST_TIMEOUT_S, MOST_CONCURRENT, ToolFields, tool_problems

SCHEMA_START = """{
  "type": "object",
  "properties": {
    "query": {"type": "string", "description": "What to look for"}
  },
  "required": ["query"]
}"""
_SECONDS = f"Write a number of seconds, more than 0 and at most {LONGEST_TIMEOUT_S:g}."
_CALLS = f"Write a whole number from 1 to {MOST_CONCURRENT}."
_EXAMPLES: dict[str, Any] = {"string": "text", "integer": 1, "number": 1.5, "boolean": True}


class ToolForm(PlainForm):
    """Everything of a version; header values are written and never read back."""

    name = forms.CharField(
        label="Name",
        required=False,
        max_length=200,
        help_text="As the model calls it: letters, digits, _ and -.",
    )
    url = forms.CharField(
        label="URL",
        required=False,
        max_length=2000,
        help_text="Each call is one POST to this address.",
    )
    description = forms.CharField(
        label="Description",
        required=False,
        widget=forms.Textarea({"rows": "3"}),
        help_text="The model reads it to decide when to call.",
    )
    parameters = forms.CharField(
        label="Arguments (JSON schema)",
        initial=SCHEMA_START,
        strip=False,
        required=False,
        widget=code_area(10, **{"data-editor": ""}),
    )
    effects = forms.ChoiceField(
        label="Effects",
        choices=Effects.choices,
        initial=Effects.READS,
        error_messages={
            "invalid_choice": f"'%(value)s' is none of {', '.join(Effects.values)}.",
        },
    )
    idempotent = forms.BooleanField(
        label="Safe to repeat with the same Idempotency-Key", required=False, initial=True
    )
    timeout_s = forms.FloatField(
        label="Time limit, seconds",
        initial=60.0,
        error_messages={"required": _SECONDS, "invalid": _SECONDS},
    )
    max_concurrency = forms.IntegerField(
        label="Calls at once",
        initial=32,
        error_messages={"required": _CALLS, "invalid": _CALLS},
    )
    headers = forms.CharField(
        label="Secret headers",
        required=False,
        widget=code_area(3, autocomplete="off"),
        help_text="One a line, as Authorization: Bearer …. Values are encrypted and never shown "
        "again; leave the mask to keep one for the same server, delete the line to remove it.",
    )

    def __init__(self, *args: Any, named: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if named:
            del self.fields["name"]

    def clean_parameters(self) -> dict[str, Any]:
        try:
            return object_from_text(self.cleaned_data["parameters"], field="parameters")
        except UserError as error:
            raise forms.ValidationError(error.message) from error

    def clean_headers(self) -> dict[str, str]:
        try:
            return _headers(self.cleaned_data["headers"])
        except UserError as error:
            raise forms.ValidationError(error.message) from error

    def clean(self) -> None:
        """All that is wrong is said at once; a field that could not be read has said so already."""
        name = self.cleaned_data.get("name", "") if "name" in self.fields else None
        for problem in tool_problems(self.read_fields(), name):
            if problem.field not in self.errors:
                self.refuse(problem)

    def read_fields(self) -> ToolFields:
        """What is typed."""
        typed = {key: value for key, value in self.cleaned_data.items() if key != "name"}
        return ToolFields(**{"url": "", **typed})


class CallForm(PlainForm):
    """Example arguments, and the dataset row that the call would belong to."""

    arguments = forms.CharField(
        label="Arguments (JSON)", required=False, strip=False, widget=code_area(4)
    )
    item = forms.CharField(
        label="Row (JSON object, optional)", required=False, strip=False, widget=code_area(3)
    )

    def read_item(self) -> dict[str, Any]:
        """The row that is typed; nothing is an empty one."""
        return object_from_text(self.cleaned_data["item"].strip() or "{}", field="item")


def typed_version(version: ToolVersion) -> dict[str, Any]:
    """What the form shows of a version; header values are masked."""
    masked = masked_headers(version)
    return {
        "url": version.url,
        "description": version.description,
        "parameters": json.dumps(version.parameters, indent=2, ensure_ascii=False),
        "effects": version.effects,
        "idempotent": version.idempotent,
        "timeout_s": version.timeout_s,
        "max_concurrency": version.max_concurrency,
        "headers": "\n".join(f"{name}: {value}" for name, value in masked.items()),
    }


def example_arguments(parameters: Mapping[str, Any]) -> str:
    """Arguments of the schema's types, to start from."""
    properties = parameters.get("properties")
    if not isinstance(properties, dict):
        return "{}"
    return json.dumps({name: _example(each) for name, each in properties.items()}, indent=2)


def _example(schema: Any) -> Any:
    if not isinstance(schema, dict):
        return None
    for key in ("examples", "enum"):
        if isinstance(schema.get(key), list) and schema[key]:
            return schema[key][0]
    kind = schema.get("type")
    if isinstance(kind, str):
        return _EXAMPLES.get(kind, [] if kind == "array" else {} if kind == "object" else None)
    return None


def _headers(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        name, colon, value = line.partition(":")
        if not colon or not name.strip():
            raise UserError(
                f"Line {number} is no header. Write Name: value.", code="headers", field="headers"
            )
        name = name.strip()
        if name.lower() in {each.lower() for each in found}:
            raise UserError(
                f"Line {number} gives the header {name[:200]} a second time. Remove one.",
                code="headers",
                field="headers",
            )
        found[name] = value.strip()
    return found
