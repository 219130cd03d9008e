"""The trajectory list's filters: read from the address, and written back into links."""

from __future__ import annotations

from typing import Any

from django import forms
from django.http import QueryDict

from hone.core.forms import PlainForm
from jobs.engine.types import StopReason
from jobs.selectors import Filters
from jobs.selectors.trajectories import ORDERS
from jobs.words import FLAG_WORDS, STOP_WORDS

ANY = ("", "any")
LARGEST = 2**31 - 1


class FilterForm(PlainForm):
    """Every field may be left out. A value that does not fit is named and leaves out nothing."""

    step = forms.IntegerField(
        required=False,
        min_value=0,
        max_value=LARGEST,
        widget=forms.NumberInput(
            attrs={"data-key": "e", "aria-keyshortcuts": "e", "data-key-name": "Filter"}
        ),
    )
    split = forms.ChoiceField(
        required=False,
        choices=[("", "any"), *((each, each) for each in ("train", "validation", "preflight"))],
    )
    stop = forms.ChoiceField(
        required=False, choices=[ANY, *((str(stop), STOP_WORDS[str(stop)]) for stop in StopReason)]
    )
    flag = forms.ChoiceField(required=False, choices=[ANY, *FLAG_WORDS.items()])
    tool = forms.CharField(required=False, max_length=64)
    row = forms.IntegerField(required=False, min_value=1, max_value=LARGEST, label="Task")
    group = forms.CharField(required=False, max_length=80, widget=forms.HiddenInput)
    reward_from = forms.FloatField(required=False, label="Reward from")
    reward_to = forms.FloatField(required=False, label="to")
    part = forms.CharField(required=False, max_length=100, label="Part")
    part_from = forms.FloatField(required=False, label="from")
    part_to = forms.FloatField(required=False, label="to")
    text = forms.CharField(required=False, max_length=200, label="Words")
    sort = forms.ChoiceField(
        required=False, choices=[(name, name) for name in ORDERS], widget=forms.HiddenInput
    )

    def filters(self) -> Filters:
        """What was asked, without the fields that do not fit. People count rows from 1."""
        self.is_valid()
        known = {
            name: value for name, value in self.cleaned_data.items() if value not in {"", None}
        }
        if "part" not in known:
            known.pop("part_from", None)
            known.pop("part_to", None)
        if "row" in known:
            known["row"] -= 1
        return Filters(**known)


def address(query: QueryDict, **changes: Any) -> str:
    """`?…` with some keys changed, left out where None; paging starts again."""
    changed = query.copy()
    for key in ("after", "before", "until"):
        changed.pop(key, None)
    for key, value in changes.items():
        changed.pop(key, None)
        if value is not None:
            changed[key] = str(value)
    return f"?{changed.urlencode()}"
