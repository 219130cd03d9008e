"""The strip of steps: one bar each, as high as its groups had signal, and marks that are links."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.urls import reverse

from jobs.models import Job
from jobs.selectors.attention import Told
from jobs.views.chart_address import Asked, reach

WIDTH, HEIGHT = 1000, 28
MOST_CELLS = 100
MOST_MARKS = 30
"""Of one kind; the newest are shown."""
BARE = 2
"""Height of a step without signal: it was a step all the same."""


@dataclass(frozen=True)
class Cell:
    """One bar, or of many steps one a bucket; a link that makes its step the focus."""

    x: str
    y: str
    width: str
    height: str
    step: int
    here: bool
    words: str


@dataclass(frozen=True)
class Mark:
    """A named link under the strip."""

    sign: str
    words: str
    step: int
    href: str


def strip(job: Job, columns: dict[str, Any], asked: Asked, told: Told) -> dict[str, Any]:
    """Cells up to the end of the axis, and the marks of the steps in view."""
    first = asked.first or 0
    last = asked.last if asked.last is not None else reach(job)
    return {
        "cells": _cells(columns, asked, first, max(last, first + 1)),
        "marks": _marks(job, columns, told),
        "width": WIDTH,
        "height": HEIGHT,
    }


def _cells(columns: dict[str, Any], asked: Asked, first: int, last: int) -> list[Cell]:
    steps = columns["step"]
    every = max(1, -(-len(steps) // MOST_CELLS))
    size = columns["size"] * every
    wide = WIDTH * size / (last - first + 1)
    cells = []
    for at in range(len(steps) - 1, -1, -every):
        signal, total = columns["groups_with_signal"][at], columns["groups_total"][at]
        share = (signal or 0.0) / total if total else 0.0
        tall = max(BARE, HEIGHT * share)
        x = WIDTH * (steps[at] - first) / (last - first + 1) - wide + wide / size
        cells.append(
            Cell(
                x=f"{max(x, 0):.2f}",
                y=f"{HEIGHT - tall:.1f}",
                width=f"{max(wide - min(2, wide / 4), 0.5):.2f}",
                height=f"{tall:.1f}",
                step=steps[at],
                here=asked.step is not None and steps[at] - size < asked.step <= steps[at],
                words=f"Step {steps[at]}: "
                + (f"{signal:.0f} of {total:.0f} groups with signal" if total else "not trained"),
            )
        )
    return cells[::-1]


def _marks(job: Job, columns: dict[str, Any], told: Told) -> list[tuple[str, str, list[Mark]]]:
    rows = reverse("job-trajectories", args=[job.pk])
    checkpoints = reverse("job-checkpoints", args=[job.pk])
    events = reverse("job-events", args=[job.pk])
    pairs = zip(columns["step"], columns["validation_reward"], strict=True)
    evaluated = [step for step, reward in pairs if reward is not None]
    alarms = sorted((each.last, each.code) for each in told.alarms)
    found = [
        ("●", "evaluation", [(step, f"{rows}?split=validation&step={step}") for step in evaluated]),
        ("◆", "kept", [(step, checkpoints) for step in told.kept]),
        ("!", "alarm", [(step, "#attention") for step, _ in alarms]),
        ("‖", "paused after", [(step, events) for step in told.paused]),
        ("↻", "resumed after", [(step, events) for step in told.resumed]),
    ]
    return [
        (sign, words, [Mark(sign, words, step, href) for step, href in places[-MOST_MARKS:]])
        for sign, words, places in found
        if places
    ]
