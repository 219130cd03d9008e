"""Forms of judges: what one is, its key, and a question from the page."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from django import forms

from graders.models import Judge
from graders.services.judges import (
    LONGEST_QUESTION,
    LONGEST_TIMEOUT_S,
    MOST_CONCURRENT,
    JudgeFields,
    judge_problems,
)
from hone.core.forms import PlainForm, code_area

_PRICE = "Write a number with at most six decimal places, as 0.15."
_WHOLE = "Write a whole number."
_SECONDS = f"Write a number of seconds, more than 0 and at most {LONGEST_TIMEOUT_S:g}."
KEY = forms.PasswordInput(attrs={"autocomplete": "off", "spellcheck": "false"})
QUESTION = (
    "The gold answer is “Paris”. The answer to be judged is “The capital is Paris.”. Say in one "
    "sentence whether they agree, and give a score from 0 to 1."
)


class JudgeForm(PlainForm):
    """Everything of a judge; the key is written and never read back."""

    name = forms.CharField(
        label="Name",
        required=False,
        max_length=200,
        help_text="Graders say name/model, so it stays as it is.",
    )
    base_url = forms.CharField(
        label="Base URL",
        required=False,
        max_length=2000,
        help_text="Of an OpenAI-compatible chat API, as https://api.example.org/v1.",
    )
    models = forms.CharField(
        label="Models",
        required=False,
        widget=code_area(4),
        help_text="One a line, by the names that the endpoint knows.",
    )
    key = forms.CharField(
        label="API key",
        required=False,
        strip=False,
        max_length=8192,
        widget=KEY,
        help_text="Encrypted and never shown again. Some servers need none.",
    )
    input_price = forms.DecimalField(
        label="Price of 1 M input tokens",
        initial=Decimal(0),
        max_digits=12,
        decimal_places=6,
        error_messages={"required": _PRICE, "invalid": _PRICE},
        help_text="In your currency; 0 where it costs nothing.",
    )
    output_price = forms.DecimalField(
        label="Price of 1 M output tokens",
        initial=Decimal(0),
        max_digits=12,
        decimal_places=6,
        error_messages={"required": _PRICE, "invalid": _PRICE},
    )
    per_minute = forms.IntegerField(
        label="Requests a minute",
        initial=0,
        error_messages={"required": _WHOLE, "invalid": _WHOLE},
        help_text="0: as fast as it answers.",
    )
    max_concurrency = forms.IntegerField(
        label="Requests at once",
        initial=8,
        error_messages={"required": _WHOLE, "invalid": _WHOLE},
        help_text=f"1 to {MOST_CONCURRENT}, of one job.",
    )
    timeout_s = forms.FloatField(
        label="Time limit, seconds",
        initial=60.0,
        error_messages={"required": _SECONDS, "invalid": _SECONDS},
    )

    def __init__(self, *args: Any, named: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if named:
            del self.fields["name"]
            self.fields["key"].help_text = "Leave it empty to keep the key for the same server."

    def clean_models(self) -> tuple[str, ...]:
        lines = self.cleaned_data["models"].splitlines()
        return tuple(line.strip() for line in lines if line.strip())

    def clean(self) -> None:
        """All that is wrong is said at once; a field that could not be read has said so already."""
        name = self.cleaned_data.get("name", "") if "name" in self.fields else None
        problems = judge_problems(
            self.read_fields(), name=name, key=self.cleaned_data.get("key", "")
        )
        for problem in problems:
            if problem.field not in self.errors:
                self.refuse(problem)

    def read_fields(self) -> JudgeFields:
        """What is typed."""
        typed = {name: each for name, each in self.cleaned_data.items() if name in _FIELDS}
        return JudgeFields(**{"base_url": "", "models": (), **typed})


_FIELDS = frozenset(JudgeFields.__dataclass_fields__)


class KeyForm(PlainForm):
    """A key in the place of the one that is there."""

    key = forms.CharField(
        label="New key",
        required=False,
        strip=False,
        max_length=8192,
        widget=KEY,
        help_text="Running jobs use it from the next start of their engine on.",
    )


class AskForm(PlainForm):
    """A question to one model of a judge."""

    model = forms.ChoiceField(label="Model")
    question = forms.CharField(
        label="Question",
        required=False,
        max_length=LONGEST_QUESTION,
        initial=QUESTION,
        widget=forms.Textarea({"rows": "4"}),
    )

    def __init__(self, *args: Any, judge: Judge, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = self.fields["model"]
        assert isinstance(field, forms.ChoiceField)
        field.choices = [(model, model) for model in judge.models_offered]


def typed_judge(judge: Judge) -> dict[str, Any]:
    """What the form shows of a judge; never its key."""
    return {
        "base_url": judge.base_url,
        "models": "\n".join(judge.models_offered),
        "input_price": judge.prices[0],
        "output_price": judge.prices[1],
        "per_minute": judge.per_minute,
        "max_concurrency": judge.max_concurrency,
        "timeout_s": judge.timeout_s,
    }
