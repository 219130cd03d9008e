"""Turns measured by continuations on demand: the two buttons, and what is said of each result."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.http import require_POST

from hone.accounts.requests import MemberRequest
from hone.core.errors import UserError
from jobs.engine.types import Measured
from jobs.forms.replay import ReplayForm
from jobs.models import FINAL, Desired, Replay, Status
from jobs.selectors import access_replay, access_trajectory
from jobs.services.replays import replay_cancel, replay_create
from jobs.views.credit import measured_text
from jobs.views.messages import tell

SHOWN = 5
"""Of one turn, newest first."""


@dataclass(frozen=True)
class Measurement:
    """One replay in words. `is_open`: it has no end yet and may be cancelled."""

    run_id: str
    text: str
    is_open: bool
    is_bad: bool = False


@require_POST
def measure(request: MemberRequest, job_id: str, trajectory_id: int) -> HttpResponse:
    """Queue a measurement of one turn; the answer is the page it was asked on."""
    trajectory = access_trajectory(request.user, job_id, trajectory_id, need="write")
    form = ReplayForm(request.POST)
    here = reverse("trajectory", args=[job_id, trajectory.pk])
    if not form.is_valid():
        for field, errors in form.errors.items():
            messages.error(request, f"{form.fields[field].label or field}: {errors[0]}")
        return redirect(here)
    number = form.cleaned_data["turn"]
    try:
        replay_create(
            acting_user=request.user,
            trajectory=trajectory,
            turn=number - 1,
            continuations=form.cleaned_data["continuations"],
        )
        messages.success(
            request, f"Turn {number} is measured as soon as a training worker is free."
        )
    except UserError as error:
        tell(request, error)
    return redirect(f"{here}#turn-{number}")


@require_POST
def cancel(request: MemberRequest, job_id: str, run_id: str) -> HttpResponse:
    """Cancel a measurement."""
    replay = access_replay(request.user, job_id, run_id, need="write")
    try:
        replay_cancel(acting_user=request.user, replay=replay)
        messages.success(request, "The measurement is being cancelled.")
    except UserError as error:
        tell(request, error)
    here = reverse("trajectory", args=[job_id, replay.trajectory_id])
    return redirect(f"{here}#turn-{replay.turn + 1}")


def measurements(replays: Iterable[Replay]) -> dict[int, tuple[Measurement, ...]]:
    """By turn, zero-based, in the order given."""
    found: dict[int, list[Measurement]] = defaultdict(list)
    for replay in replays:
        found[replay.turn].append(_measurement(replay))
    return {turn: tuple(rows[:SHOWN]) for turn, rows in found.items()}


def _measurement(replay: Replay) -> Measurement:
    status = replay.run.status
    is_open = status not in FINAL
    return Measurement(replay.pk, _text(replay), is_open, is_bad=status == Status.FAILED)


def _text(replay: Replay) -> str:
    run, sides = replay.run, f"{replay.continuations} continuations from each side"
    match run.status:
        case Status.SUCCEEDED:
            return f"Continuations on demand, not trained on: {_result(replay)} {_weights(replay)}"
        case Status.FAILED:
            return f"Measured by {sides}: failed. {_sentence(replay.reason)}"
        case Status.CANCELLED:
            return f"Measured by {sides}: cancelled."
        case Status.PAUSED:
            return f"Measured by {sides}: waits. {_sentence(run.pause_text)}"
        case Status.RUNNING if run.desired == Desired.CANCEL:
            return f"Measured by {sides}: being cancelled. Reload this page to see it end."
        case Status.RUNNING:
            return f"Measured by {sides}: running. Reload this page for the result."
    return f"Measured by {sides}: queued for a training worker. Reload this page for the result."


def _result(replay: Replay) -> str:
    sides = f"{replay.continuations} from each side"
    if replay.delta is None or replay.low is None or replay.high is None:
        return f"no estimate, {sides}. {_sentence(replay.reason)}"
    # The reason beside an estimate tells how many are unusable.
    told = Measured(delta=replay.delta, n=replay.n, interval=(replay.low, replay.high))
    why = f" {_sentence(replay.reason)}" if replay.reason else ""
    return f"{measured_text(told)}, {sides}.{why}"


def _weights(replay: Replay) -> str:
    used, wanted = replay.weights_step, replay.wanted_step
    if used is None or used == wanted:
        return f"Sampled with the weights that made this trajectory, {_named(wanted)}."
    return (
        f"The weights that made this trajectory, {_named(wanted)}, are gone: these figures are of "
        f"other weights, {_named(used)}."
    )


def _named(step: int) -> str:
    return f"those after step {step}" if step else "the base model's"


def _sentence(text: str) -> str:
    text = text.strip()
    return f"{text[:1].upper()}{text[1:].rstrip('.')}." if text else ""
