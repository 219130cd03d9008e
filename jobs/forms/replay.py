"""Which turn to measure by continuations, and how many."""

from __future__ import annotations

from django import forms

from hone.core.forms import PlainForm
from jobs.services.replays import FEWEST, MOST, USUAL

MOST_TURNS = 2**31 - 1


class ReplayForm(PlainForm):
    """People count turns from 1."""

    turn = forms.IntegerField(min_value=1, max_value=MOST_TURNS)
    continuations = forms.IntegerField(
        min_value=FEWEST, max_value=MOST, initial=USUAL, label="Continuations from each side"
    )
