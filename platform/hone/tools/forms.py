"""Forms of tools: what a version says, and a call from the page."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, cast

from django import forms

from hone.core.errors import UserError
from hone.core.forms import PlainForm, code_area
from hone.core.json_text import object_from_text
from hone.tools.models import Effects, Recording, Schedule, ToolVersion
from hone.tools.selectors import masked_headers
from hone.tools.services import (
    HIGHEST_RATE,
    LONGEST_TIMEOUT_S,
    MOST_CONCURRENT,
    USUAL_RATE,
    ToolFields,
    tool_problems,
)

SCHEMA_START = """{
  "type": "object",
  "properties": {
    "query": {"type": "string", "description": "What to look for"}
  },
  "required": ["query"]
}"""
TOLD = ("url", "description", "parameters")
_SECONDS = f"Write a number of seconds, more than 0 and at most {LONGEST_TIMEOUT_S:g}."
_RATE = f"Write a number more than 0 and at most {HIGHEST_RATE:g}."
_CALLS = f"Write a whole number from 1 to {MOST_CONCURRENT}."


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
    rate_limit = forms.FloatField(
        label="Calls a second",
        initial=USUAL_RATE,
        required=False,
        error_messages={"invalid": _RATE},
    )
    headers = forms.CharField(
        label="Secret headers",
        required=False,
        widget=code_area(3, autocomplete="off"),
        help_text="One a line, as Authorization: Bearer …. Values are encrypted and never shown "
        "again; leave the mask to keep one for the same server, delete the line to remove it.",
    )

    def __init__(self, *args: Any, before: ToolVersion | None = None, **kwargs: Any) -> None:
        """`before`: the version that is changed. Of a tool of an MCP server, the server says what
        it takes, and only how it is called is said here."""
        super().__init__(*args, **kwargs)
        self._told: dict[str, Any] = {}
        if before is not None:
            del self.fields["name"]
        if before is not None and before.mcp_server_id is not None:
            self._told = {name: getattr(before, name) for name in TOLD}
            for name in (*TOLD, "headers"):
                del self.fields[name]

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
        typed = {
            key: value
            for key, value in self.cleaned_data.items()
            if key != "name" and (key, value) != ("rate_limit", None)
        }
        return ToolFields(**{"url": "", **self._told, **typed})


class CallForm(PlainForm):
    """Example arguments, the dataset row that the call would belong to, and a recording."""

    arguments = forms.CharField(
        label="Arguments (JSON)", required=False, strip=False, widget=code_area(4)
    )
    item = forms.CharField(
        label="Row (JSON object, optional)", required=False, strip=False, widget=code_area(3)
    )
    replay = forms.ChoiceField(label="Answered by", required=False)
    record_as = forms.CharField(
        label="Record as (optional)",
        required=False,
        max_length=100,
        help_text="The call and its answer are added to the recording of this name.",
    )

    def __init__(self, *args: Any, recordings: Sequence[Recording] = (), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._recordings = {each.pk: each for each in recordings}
        field = cast(forms.ChoiceField, self.fields["replay"])
        named = [(each.pk, f"recording {each.name}") for each in recordings]
        field.choices = [("", "the tool itself"), *named]

    def read_item(self) -> dict[str, Any]:
        """The row that is typed; nothing is an empty one."""
        return object_from_text(self.cleaned_data["item"].strip() or "{}", field="item")

    def read_replay(self) -> Recording | None:
        """The recording that is to answer."""
        return self._recordings.get(self.cleaned_data["replay"])


class CheckForm(PlainForm):
    """A contract test that is asked for."""

    arguments = forms.CharField(
        label="Example arguments (JSON)", required=False, strip=False, widget=code_area(3)
    )
    with_load = forms.BooleanField(label="Test the rate too", required=False)


class ScheduleForm(PlainForm):
    """How often the test runs by itself."""

    every_min = forms.TypedChoiceField(label="Runs by itself", choices=Schedule.choices, coerce=int)


class SecretForm(PlainForm):
    """A new value of one header; it is written and never read back."""

    header = forms.ChoiceField(label="Header")
    value = forms.CharField(
        label="New value",
        widget=forms.PasswordInput({"autocomplete": "off"}),
        help_text="It is encrypted and never shown again.",
    )

    def __init__(self, *args: Any, names: Sequence[str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = cast(forms.ChoiceField, self.fields["header"])
        field.choices = [(name, name) for name in names]


class ServerForm(PlainForm):
    """An MCP server: where it is, and what is sent along."""

    name = forms.CharField(label="Name", max_length=64, help_text="For the lists here.")
    url = forms.CharField(
        label="URL",
        max_length=2000,
        help_text="Its Streamable HTTP endpoint, such as https://tools.example.org/mcp.",
    )
    headers = forms.CharField(
        label="Secret headers",
        required=False,
        widget=code_area(3, autocomplete="off"),
        help_text="One a line, as Authorization: Bearer …. Values are encrypted and never shown "
        "again.",
    )

    def clean_headers(self) -> dict[str, str]:
        try:
            return _headers(self.cleaned_data["headers"])
        except UserError as error:
            raise forms.ValidationError(error.message) from error


class ImportForm(PlainForm):
    """Which tools of a server become tools here, and what they do to the world."""

    names = forms.MultipleChoiceField(
        label="Tools", error_messages={"required": "Choose at least one tool of the list."}
    )
    effects = forms.ChoiceField(label="Effects", choices=Effects.choices, initial=Effects.READS)
    idempotent = forms.BooleanField(
        label="Safe to repeat with the same idempotency key", required=False, initial=True
    )

    def __init__(self, *args: Any, names: Sequence[str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = cast(forms.MultipleChoiceField, self.fields["names"])
        field.choices = [(name, name) for name in names]


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
        "rate_limit": version.rate_limit,
        "headers": "\n".join(f"{name}: {value}" for name, value in masked.items()),
    }


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
