"""Which steps the tabs Credit, Graders and Loops sum up."""

from __future__ import annotations

from django import forms

from hone.core.forms import PlainForm
from jobs.selectors.insight.window import MOST_STEPS, USUAL_STEPS

LARGEST = 2**31 - 1


class WindowForm(PlainForm):
    """One step, or the last so many. A value that does not fit is named and leaves out nothing."""

    step = forms.IntegerField(required=False, min_value=0, max_value=LARGEST, label="One step")
    last = forms.IntegerField(
        required=False,
        min_value=1,
        max_value=MOST_STEPS,
        label="or the last steps",
        widget=forms.NumberInput(attrs={"placeholder": str(USUAL_STEPS)}),
    )

    def wanted(self) -> tuple[int | None, int]:
        """The one step, if any, and how many of the last."""
        self.is_valid()
        return self.cleaned_data.get("step"), self.cleaned_data.get("last") or USUAL_STEPS
