"""The form of a new job: choices of versions, and every hyperparameter as text with "auto"."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from django import forms

from hone.core.forms import PlainForm
from jobs.selectors.choices import Choice, JobChoices
from jobs.services.hyperparameters import AUTO
from jobs.services.options import OPTIONS, TOPICS, Option
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
    recording = forms.ChoiceField(
        required=False,
        label="Tool calls answered by",
        help_text="A recording gives the same call the same reply, and nothing is called.",
    )
    grader_version = forms.ChoiceField(required=False, label="Grader")
    turn_grader = forms.ChoiceField(
        required=False,
        label="Turn grader",
        help_text="Scores each turn on its own, as if it were the whole answer.",
    )
    turn_judge = forms.ChoiceField(
        required=False,
        label="Judge of turns",
        help_text="A judge that reads each whole attempt and scores its turns from 0 to 1.",
    )
    judge_instructions = forms.CharField(
        required=False,
        max_length=8000,
        label="What the judge is told",
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text="What makes a turn good. The attempt is shown to it as data.",
    )
    gold_answer = forms.CharField(
        required=False,
        max_length=400,
        label="Gold answer",
        help_text="The key of the right answer, as {{item.answer}}: a turn scores by how much "
        "likelier it makes that text. Without a turn grader or judge only.",
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )
    held_out_grader = forms.ChoiceField(
        required=False,
        label="Held-out grader",
        help_text="Scores validation beside the grader and trains nothing: a gap between the two "
        "shows that the agent games the grader.",
    )
    seed = forms.IntegerField(
        required=False, min_value=0, max_value=2**31 - 1, initial=42, label="Seed"
    )
    start_checkpoint = forms.IntegerField(
        required=False,
        min_value=1,
        max_value=2**63 - 1,
        label="Start",
        widget=forms.HiddenInput(attrs={"id": "start-checkpoint"}),
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
        self.offered = choices
        self._choose("base_model", [("", "choose…"), *choices.base_models])
        self._choose("train_version", [("", "choose…"), *choices.datasets])
        self._choose("validation_version", [("", HOLD_OUT), *choices.datasets])
        self._choose("tool_versions", choices.tools.offered)
        self._choose("grader_version", [("", "choose…"), *choices.graders.offered])
        self._choose("recording", [("", "the tools themselves"), *choices.recordings])
        for name in ("turn_grader", "held_out_grader"):
            self._choose(name, [("", "none"), *choices.graders.offered])
        self._choose("turn_judge", [("", "none"), *choices.judges])
        for option in OPTIONS:
            self.fields[option.name] = _option_field(option)

    def _choose(self, name: str, choices: Sequence[Choice]) -> None:
        field = self.fields[name]
        assert isinstance(field, forms.ChoiceField)
        field.choices = choices

    def options(self) -> Iterator[tuple[Option, forms.BoundField]]:
        """The hyperparameters by topic."""
        ordered = sorted(OPTIONS, key=lambda option: TOPICS.index(option.topic))
        return ((option, self[option.name]) for option in ordered)

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
            turn_grader=_key(given.get("turn_grader")),
            turn_judge=given.get("turn_judge", ""),
            judge_instructions=given.get("judge_instructions", ""),
            gold_answer=given.get("gold_answer", ""),
            held_out_grader=_key(given.get("held_out_grader")),
            recording=given.get("recording", ""),
            start_checkpoint=given.get("start_checkpoint"),
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
