"""A chart's numbers as a table of at most fifty rows, written as its axis writes them."""

from __future__ import annotations

from dataclasses import dataclass

from jobs.views.charts import Chart
from jobs.views.shown_charts import WRITERS

MOST_ROWS = 50


@dataclass(frozen=True)
class ChartTable:
    """Heads beside the step, and rows of (step, cells); `left_out` points have no row."""

    heads: tuple[str, ...]
    rows: tuple[tuple[int, tuple[str, ...]], ...]
    left_out: int


def chart_table(chart: Chart) -> ChartTable:
    """Steps at which any line has a value; of too many the first, the last and some between."""
    filled = [
        at
        for at in range(len(chart.steps))
        if any(line.values[at] is not None for line in chart.series)
    ]
    shown = spaced(filled)
    write = WRITERS[chart.unit]
    return ChartTable(
        heads=tuple(line.label for line in chart.series),
        rows=tuple(
            (chart.steps[at], tuple(write(line.values[at]) for line in chart.series))
            for at in shown
        ),
        left_out=len(filled) - len(shown),
    )


def spaced(places: list[int]) -> list[int]:
    """At most fifty of them, evenly chosen, the first and the last among them."""
    if len(places) <= MOST_ROWS:
        return places
    last = len(places) - 1
    return [places[round(at * last / (MOST_ROWS - 1))] for at in range(MOST_ROWS)]
