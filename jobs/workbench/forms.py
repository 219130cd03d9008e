"""What to compare over which trajectories, a mark, and the score that a kept fixture must get."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from django import forms

from graders.models import Grader, GraderVersion
from graders.services import Wanted
from hone.core.forms import PlainForm, code_area
from hone.core.json_text import object_from_text
from jobs.models import Job
from jobs.workbench.selectors import Selection
from jobs.workbench.services import MOST_REPEATS, MOST_TRAJECTORIES, STORED, Side

STORED_KEY, DRAFT_KEY = "stored", "draft"
LARGEST_STEP = 2**31 - 1


class ComparisonForm(PlainForm):
    """`sides()` and `selection()` read it; `sides()` raises UserError."""

    job = forms.ChoiceField(label="Trajectories of")
    a = forms.ChoiceField(label="A")
    b = forms.ChoiceField(label="B")
    draft = forms.CharField(
        label="Draft",
        required=False,
        strip=False,
        widget=code_area(8, **{"data-editor": ""}),
        help_text="A spec in JSON that is not saved yet, for the side that is set to the draft.",
    )
    first_step = forms.IntegerField(
        label="From step", required=False, min_value=0, max_value=LARGEST_STEP
    )
    last_step = forms.IntegerField(
        label="To step", required=False, min_value=0, max_value=LARGEST_STEP
    )
    split = forms.ChoiceField(
        required=False, choices=[("", "both"), ("train", "train"), ("validation", "validation")]
    )
    most = forms.IntegerField(
        label="At most",
        min_value=1,
        max_value=MOST_TRAJECTORIES,
        initial=256,
        help_text="Of more, so many are drawn evenly over steps and rewards.",
    )
    repeats = forms.IntegerField(
        label="Repeats",
        min_value=0,
        max_value=MOST_REPEATS,
        initial=5,
        help_text="Some samples are graded so often again: does the score stay?",
    )
    mutations = forms.BooleanField(
        label="Try to fool the graders with changed answers", required=False, initial=True
    )

    def __init__(
        self, *args: Any, jobs: Sequence[Job], versions: Sequence[GraderVersion], **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self._versions = {version.pk: version for version in versions}
        saved = [(version.pk, str(version)) for version in versions]
        draft = (DRAFT_KEY, "the draft below")
        self._choose("job", [(job.pk, f"{job.name} ({job.pk})") for job in jobs])
        self._choose("a", [(STORED_KEY, "stored rewards of the job"), *saved, draft])
        self._choose("b", [*saved, draft])

    def sides(self) -> tuple[Side, Side]:
        """Both graders."""
        return self._side("a"), self._side("b")

    def selection(self) -> Selection:
        """Which trajectories."""
        typed = self.cleaned_data
        return Selection(typed["first_step"], typed["last_step"], typed["split"], typed["most"])

    def _side(self, name: str) -> Side:
        chosen = self.cleaned_data[name]
        if chosen == STORED_KEY:
            return STORED
        if chosen == DRAFT_KEY:
            return Side("draft", object_from_text(self.cleaned_data["draft"], field="draft"))
        return Side.of(self._versions[chosen])

    def _choose(self, name: str, choices: list[tuple[str, str]]) -> None:
        field = self.fields[name]
        assert isinstance(field, forms.ChoiceField)
        field.choices = choices


class MarkForm(PlainForm):
    """A mark; empty takes it away."""

    value = forms.FloatField(label="Your mark", required=False)


class KeepForm(PlainForm):
    """Which grader keeps a trajectory, and the score that it must get there."""

    grader = forms.ChoiceField(label="Grader")
    name = forms.CharField(label="Name", max_length=100)
    low = forms.FloatField(label="Least score")
    high = forms.FloatField(label="Most score", required=False)

    def __init__(self, *args: Any, graders: Iterable[Grader], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = self.fields["grader"]
        assert isinstance(field, forms.ChoiceField)
        field.choices = [(grader.pk, grader.name) for grader in graders]

    def wanted(self) -> Wanted:
        """The name and the range; raises UserError."""
        typed = self.cleaned_data
        high = typed["low"] if typed["high"] is None else typed["high"]
        return Wanted(typed["name"], typed["low"], high)
