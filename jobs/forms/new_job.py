"""The form of a new job: choices of versions, and every hyperparameter as text with "auto"."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from django import forms

from hone.core.forms import PlainForm
from jobs.selectors.choices import Choice, JobChoices
from jobs.services.hyperparameters import AUTO, OPTIONS, Option
from jobs.services.request import JobRequest

HOLD_OUT = "hold out a share of the training tasks"
MOST_METADATA = 16


class NewJobForm(PlainForm):
    """Only shapes are checked here; whether the parts fit together is for the checks."""

    name = forms.CharField(max_length=100, required=False, label="Name")
    base_model = forms.ChoiceField(required=False, label="Base model")
    train_version = forms.ChoiceField(required=False, label="Training tasks")
    validation_version = forms.ChoiceField(required=False, label="Validation tasks")
    validation_share = forms.FloatField(
        required=False, min_value=0.01, max_value=0.9, initial=0.1, label="Share held out"
    )
    tool_versions = forms.MultipleChoiceField(
        required=False, label="Tools", widget=forms.CheckboxSelectMultiple
    )
    grader_version = forms.ChoiceField(required=False, label="Grader")
    seed = forms.IntegerField(
        required=False, min_value=0, max_value=2**31 - 1, initial=42, label="Seed"
    )
    metadata = forms.CharField(
        required=False,
        max_length=4000,
        label="Metadata",
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text="One key=value a line.",
    )

    def __init__(self, *args: Any, choices: JobChoices, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._choose("base_model", [("", "choose…"), *choices.base_models])
        self._choose("train_version", [("", "choose…"), *choices.datasets])
        self._choose("validation_version", [("", HOLD_OUT), *choices.datasets])
        self._choose("tool_versions", choices.tools)
        self._choose("grader_version", [("", "choose…"), *choices.graders])
        for option in OPTIONS:
            self.fields[option.name] = _option_field(option)

    def _choose(self, name: str, choices: Sequence[Choice]) -> None:
        field = self.fields[name]
        assert isinstance(field, forms.ChoiceField)
        field.choices = choices

    def options(self) -> Iterator[tuple[Option, forms.BoundField]]:
        """The hyperparameters in the order they depend on each other."""
        return ((option, self[option.name]) for option in OPTIONS)

    def clean_metadata(self) -> dict[str, str]:
        lines = [line for line in self.cleaned_data["metadata"].splitlines() if line.strip()]
        if len(lines) > MOST_METADATA:
            raise forms.ValidationError(
                f"There are {len(lines)} lines; at most {MOST_METADATA} fit."
            )
        found = {}
        for line in lines:
            key, equals, value = line.partition("=")
            if not equals or not key.strip():
                raise forms.ValidationError(f"{line!r} is not key=value.")
            found[key.strip()[:64]] = value.strip()[:512]
        return found

    def as_request(self) -> JobRequest:
        """What was asked; a field that did not fit counts as left out."""
        self.is_valid()
        given = self.cleaned_data
        share = given.get("validation_share")
        seed = given.get("seed")
        return JobRequest(
            name=given.get("name", ""),
            base_model=_key(given.get("base_model")),
            train_version=_key(given.get("train_version")),
            grader_version=_key(given.get("grader_version")),
            validation_version=_key(given.get("validation_version")),
            validation_share=0.1 if share is None else share,
            tool_versions=tuple(_key(each) for each in given.get("tool_versions", [])),
            hyperparameters={option.name: given.get(option.name) or AUTO for option in OPTIONS},
            seed=42 if seed is None else seed,
            metadata=given.get("metadata") or {},
        )


def _option_field(option: Option) -> forms.Field:
    if option.choices:
        return forms.ChoiceField(
            required=False,
            label=option.title,
            initial=AUTO,
            choices=[(AUTO, AUTO), *((choice, choice) for choice in option.choices)],
        )
    widget = forms.TextInput(attrs={"inputmode": "decimal", "autocomplete": "off"})
    return forms.CharField(
        required=False, label=option.title, initial=AUTO, max_length=40, widget=widget
    )


def _key(given: str | None) -> Any:
    """The id of a row: numbers for tables that count, text for those that do not."""
    if not given:
        return None
    return int(given) if given.isdecimal() else given
