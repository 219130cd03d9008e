"""Forms of datasets: a name and a file."""

from __future__ import annotations

from pathlib import PurePath

from django import forms

from hone.core.forms import PlainForm


class VersionForm(PlainForm):
    upload = forms.FileField(
        label="JSONL file",
        allow_empty_file=True,
        max_length=300,
        widget=forms.FileInput({"accept": ".jsonl,application/jsonl,application/x-ndjson"}),
        help_text="One JSON object a line, at least 10 lines, UTF-8. Each has messages that end "
        "with the user; other keys are for your grader and tools.",
        error_messages={
            "required": "No file was chosen. Choose a JSONL file.",
            "max_length": "The file's name has %(length)d characters; at most %(max)d fit. "
            "Rename it.",
        },
    )


class DatasetForm(VersionForm):
    name = forms.CharField(
        label="Name",
        max_length=200,
        required=False,
        help_text="Left empty, it is the file's name without .jsonl.",
    )
    field_order = ("name", "upload")

    def clean(self) -> None:
        upload = self.cleaned_data.get("upload")
        if upload and not self.cleaned_data.get("name"):
            self.cleaned_data["name"] = PurePath(upload.name).stem
