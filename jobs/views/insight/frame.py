"""What the three tabs share: the chosen steps, links to trajectories, charts beside the tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.http import urlencode

from hone.core import figures
from hone.core.htmx import target, vary
from jobs.forms.insight import WindowForm
from jobs.models import Job
from jobs.selectors.insight.window import Key, Step, Window, insight_window, trajectory_ids
from jobs.views.charts import Chart, Value
from jobs.views.headings import heading
from jobs.views.job_charts import Columns
from jobs.views.shown_charts import shown_chart


@dataclass(frozen=True)
class Link:
    """A trajectory to open; `address` is empty where its row is gone."""

    text: str
    address: str = ""


@dataclass(frozen=True)
class Frame:
    """A tab's steps, and the context that its template shares with the others."""

    job: Job
    window: Window
    context: dict[str, Any]

    def links(self, keys: Iterable[Key]) -> dict[Key, Link]:
        """One query for all."""
        wanted = list(keys)
        found = trajectory_ids(self.job, wanted)
        return {key: self._link(key[2], found.get(key)) for key in wanted}

    def _link(self, uid: str, pk: int | None) -> Link:
        return Link(uid, reverse("trajectory", args=[self.job.pk, pk]) if pk else "")

    def door(self, **filters: Any) -> str:
        """The trajectory list behind a figure; of the focus step, where there is one."""
        if self.window.focus is not None:
            filters = {"step": self.window.focus, **filters}
        return f"{reverse('job-trajectories', args=[self.job.pk])}?{urlencode(filters)}"


def frame(request: HttpRequest, job: Job, here: str) -> Frame:
    """The steps that the address asks for."""
    form = WindowForm(request.GET)
    step, last = form.wanted()
    window = insight_window(job, step=step, last=last)
    context = {
        **heading(request, job, here),
        "form": form,
        "window": window,
        "span": span(window),
        "notes": notes(window),
        "is_whole": step is None,
    }
    return Frame(job, window, context)


def shown(request: HttpRequest, page: str, body: str, context: dict[str, Any]) -> HttpResponse:
    """The page, or for the panel that fetches itself its body alone."""
    template = body if target(request) == "tab" else page
    return vary(render(request, template, context))


def span(window: Window) -> str:
    """Which steps the figures are of, in words."""
    numbers = [step.number for step in window.steps]
    if not numbers:
        return "no step"
    if len(numbers) == 1:
        return f"step {numbers[0]}"
    return f"steps {numbers[0]} to {numbers[-1]}"


def notes(window: Window) -> list[str]:
    """What a reader must know of the steps before reading the figures."""
    told = []
    if window.focus is not None and not window.steps:
        told.append(f"There is no step {window.focus}. Finished steps: 0 to {window.last}.")
    missing, all_ = window.unrecorded, len(window.steps)
    if missing:
        which = "This step was" if all_ == 1 else f"{missing} of these {all_} steps were"
        told.append(f"{which} made before this was recorded, and count in nothing here.")
    return told


def charts_context(window: Window, charts: Sequence[Chart]) -> dict[str, Any]:
    """The charts that have data, as pages show them."""
    drawn = [chart for chart in charts if chart.has_data]
    thinned = (
        f"Curves are drawn from {len(window.curve)} of {window.last + 1} steps, spread evenly."
        if window.is_thinned
        else ""
    )
    return {
        "charts": [shown_chart(chart) for chart in drawn],
        "thinned": thinned,
    }


def numbers(steps: Iterable[Step]) -> tuple[int, ...]:
    """The x of a chart."""
    return tuple(step.number for step in steps)


def column(steps: Iterable[Step], *path: str) -> tuple[Value, ...]:
    """One figure of each step; None where a step does not tell."""
    return tuple(step.figure(*path) for step in steps)


def stop_columns(steps: Sequence[Step]) -> Columns:
    """Stop reasons as shares, as `jobs.views.job_charts.stops_chart` reads them."""
    shares = [_shares(step) for step in steps]
    names = sorted({name for each in shares for name in each})
    return {
        "step": list(numbers(steps)),
        "stops": {name: [each.get(name, 0.0) for each in shares] for name in names},
    }


def _shares(step: Step) -> dict[str, float]:
    stops = step.of("train", "stops") or step.of("validation", "stops") or {}
    total = sum(stops.values())
    return {name: count / total for name, count in stops.items()} if total else {}


def plus_minus(half: float | None) -> str:
    """`±0.04`; nothing where there were too few to tell."""
    return "" if half is None else f"±{figures.signed(half).lstrip('+')}"
