"""Forms of datasets: a name and a file."""

from __future__ import annotations

from pathlib import PurePath
from typing import Any

from django import forms

from hone.core.forms import PlainForm
from hone.datasets.models import DatasetVersion
from hone.datasets.tables import RESERVED, Columns

QUESTIONS = (
    "question",
    "prompt",
    "task",
    "instruction",
    "query",
    "problem",
    "input",
    "user",
    "text",
)
"""What a column that is asked is called, the likeliest first."""
ACCEPT = ".jsonl,.csv,.tsv,.parquet,application/jsonl,application/x-ndjson,text/csv"


class VersionForm(PlainForm):
    upload = forms.FileField(
        label="JSONL, CSV or Parquet file",
        allow_empty_file=True,
        max_length=300,
        widget=forms.FileInput({"accept": ACCEPT}),
        help_text="One JSON object a line, at least 10 lines, UTF-8. Each has messages that end "
        "with the user; other keys are for your grader and tools. Of a table you say which columns "
        "are what.",
        error_messages={
            "required": "No file was chosen. Choose one.",
            "max_length": "The file's name has %(length)d characters; at most %(max)d fit. "
            "Rename it.",
        },
    )


class DatasetForm(VersionForm):
    name = forms.CharField(
        label="Name",
        max_length=200,
        required=False,
        help_text="Left empty, it is the file's name without its ending.",
    )
    field_order = ("name", "upload")

    def clean(self) -> None:
        upload = self.cleaned_data.get("upload")
        if upload and not self.cleaned_data.get("name"):
            self.cleaned_data["name"] = PurePath(upload.name).stem


class ColumnsForm(PlainForm):
    """What a table's columns are."""

    user = forms.CharField(
        label="The user's message",
        max_length=20_000,
        strip=False,
        widget=forms.Textarea({"rows": "5", "spellcheck": "false"}),
        help_text="A text with columns in it, as in {{question}}.",
    )
    system = forms.CharField(
        label="Instructions before it",
        max_length=20_000,
        required=False,
        widget=forms.Textarea({"rows": "3"}),
        help_text="May stay empty. Columns can stand here too.",
    )
    keep = forms.MultipleChoiceField(
        label="Columns for graders and tools",
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text="Each becomes a key of the row, as in {{item.answer}}.",
    )

    def __init__(self, names: list[str], given: Any = None) -> None:
        free = [name for name in names if name not in RESERVED]
        asked = likely_question(names)
        initial = {"user": f"{{{{{asked}}}}}", "keep": [n for n in free if n != asked]}
        super().__init__(given, initial=initial)
        keep = self.fields["keep"]
        assert isinstance(keep, forms.MultipleChoiceField)
        keep.choices = [(name, name) for name in free]

    @property
    def columns(self) -> Columns:
        """What was chosen, or what is offered first."""
        given = self.cleaned_data if self.is_bound else self.initial
        return Columns(given["user"], given.get("system", ""), tuple(given["keep"]))


def likely_question(names: list[str]) -> str:
    """The column that most likely holds what is asked: by its name, else the first but ids."""
    plain = {name.lower().strip(): name for name in reversed(names)}
    named = next((plain[word] for word in QUESTIONS if word in plain), None)
    no_id = (name for name in names if not name.lower().strip("_").endswith(("id", "index", "idx")))
    return named or next(no_id, names[0])


class SplitForm(PlainForm):
    """How a version is split in two."""

    share = forms.FloatField(
        label="Share for validation", initial=0.1, help_text="Of the rows, or of the values."
    )
    by = forms.ChoiceField(
        label="Split by",
        required=False,
        help_text="By a key, all rows with the same value are on the same side.",
    )
    seed = forms.IntegerField(
        label="Seed", initial=1, min_value=0, max_value=2**31 - 1,
        help_text="The same seed makes the same split.",
    )  # fmt: skip
    train = forms.CharField(label="Name of the dataset for training", max_length=200)
    validation = forms.CharField(label="Name of the dataset for validation", max_length=200)

    def __init__(self, version: DatasetVersion, given: Any = None) -> None:
        name = str(version)
        initial = {"train": f"{name} train"[:100], "validation": f"{name} validation"[:100]}
        super().__init__(given, initial=initial)
        keys = version.report.get("keys", {})
        whole = [key for key, rows in keys.items() if rows == version.rows and key not in RESERVED]
        by = self.fields["by"]
        assert isinstance(by, forms.ChoiceField)
        by.choices = [("", "rows, at random"), *((key, f"the key {key}") for key in whole)]
