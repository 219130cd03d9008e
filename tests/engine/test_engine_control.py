"""What the supervisor wants reaches the run, and a wish to stop is not taken back."""

from __future__ import annotations

import pytest

from jobs.engine.control import ControlReader
from jobs.engine.errors import RunCancelled, RunPaused
from jobs.engine.spec import Control


def told(*wishes):
    control = ControlReader(None)
    for wish in wishes:
        control.obey(Control(wish))
    return control


def test_a_run_that_shall_run_is_not_stopped():
    told("run").check()


@pytest.mark.parametrize("wishes", [["pause"], ["pause", "run"], ["run", "pause", "run"]])
def test_a_pause_that_was_taken_back_is_still_a_pause(wishes):
    with pytest.raises(RunPaused) as paused:
        told(*wishes).check()
    assert paused.value.reason == "asked"


@pytest.mark.parametrize("wishes", [["cancel"], ["cancel", "pause"], ["pause", "cancel", "run"]])
def test_cancelling_outweighs_a_pause(wishes):
    with pytest.raises(RunCancelled):
        told(*wishes).check()
