"""Pictures of a comparison: both histograms mirrored on one axis, and the means of each step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from jobs.engine.credit.counterfactual import scale_of
from jobs.views.charts import Chart, Series
from jobs.views.shown_charts import ShownChart, shown_chart
from jobs.workbench.findings import BINS, Findings, StepFigures

WIDE, HALF, GAP = 600, 70, 2
MOST_STEPS = 400


@dataclass(frozen=True)
class Histogram:
    """Scores in bins of one axis; `n` of each bin is in the table beside the picture."""

    low: float
    high: float
    a: tuple[int, ...]
    b: tuple[int, ...]
    picture: SafeString

    @property
    def table(self) -> list[tuple[float, float, int, int]]:
        """The bins that hold anything."""
        width = (self.high - self.low) / BINS
        return [
            (self.low + at * width, self.low + (at + 1) * width, a, b)
            for at, (a, b) in enumerate(zip(self.a, self.b, strict=True))
            if a or b
        ]


def histogram(found: Findings) -> Histogram | None:
    """A upwards and B downwards; None where nothing is graded."""
    every = (*found.a.scores, *found.b.scores)
    if not every:
        return None
    low, high = scale_of(every)
    a, b = (_bins(side.scores, low, high) for side in (found.a, found.b))
    most = max((*a, *b, 1))
    boxes = [*_bars(a, most, "s1", up=True), *_bars(b, most, "s2", up=False)]
    picture = format_html(
        '<svg class="mirror" viewBox="0 0 {} {}" preserveAspectRatio="none" aria-hidden="true">'
        '{}<path d="M0 {}H{}" class="stroke-text-3"/></svg>',
        WIDE,
        2 * HALF,
        format_html_join("", '<rect class="fill-{}" x="{}" y="{}" width="{}" height="{}"/>', boxes),
        HALF,
        WIDE,
    )
    return Histogram(low, high, a, b, picture)


def step_chart(steps: Sequence[StepFigures], label_a: str, label_b: str) -> ShownChart | None:
    """Both curves; None where there are no two steps to draw one through."""
    shown = steps[-MOST_STEPS:]
    if len(shown) < 2:
        return None
    first, second = tuple(step.a for step in shown), tuple(step.b for step in shown)
    return shown_chart(
        Chart(
            key="steps",
            title="Mean score by step",
            question="Would the curve have looked the same?",
            unit="reward",
            steps=tuple(step.step for step in shown),
            series=(Series(label_a, "s1", first), Series(label_b, "s2", second, dashed=True)),
            low=min((0.0, *first, *second)),
            high=max((1.0, *first, *second)),
        )
    )


def _bins(scores: Sequence[float], low: float, high: float) -> tuple[int, ...]:
    counts = [0] * BINS
    for score in scores:
        counts[min(BINS - 1, int(BINS * (score - low) / (high - low)))] += 1
    return tuple(counts)


def _bars(
    counts: Sequence[int], most: int, colour: str, *, up: bool
) -> list[tuple[str, str, str, str, str]]:
    width = WIDE / BINS
    boxes = []
    for at, n in enumerate(counts):
        tall = max(1.0, HALF * n / most) if n else 0.0
        top = HALF - tall if up else float(HALF)
        boxes.append(
            (colour, f"{at * width:.1f}", f"{top:.1f}", f"{width - GAP:.1f}", f"{tall:.1f}")
        )
    return boxes
