"""A chart as the page shows it before any script runs: picture, legend, a sentence, a table.

`{% include "jobs/chart.html" with chart=shown_chart(...) %}` shows one; `jobs/chart_scripts.html`
draws all of a page, with one focus step, inside an element with `data-charts` (and
`data-trajectories`, the address that a step leads to).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from django.utils.safestring import SafeString

from hone.core import figures
from jobs.views.charts import Chart, Series, Value
from jobs.views.svg import bounds, picture

LEVEL = "text-3"
"""The colour of the base model's level and of limits, which are no news of a step."""
TABLE_ROWS = 50
WRITERS: dict[str, Callable[[float | None], str]] = {
    "reward": figures.reward,
    "signed": figures.signed,
    "decimal": figures.decimal,
    "small": figures.small,
    "share": figures.share,
    "count": figures.count,
    "seconds": figures.duration,
}


@dataclass(frozen=True)
class ShownChart:
    """What the template needs of a chart; `legend` pairs a colour with a name.

    `csv`, `svg` and `table` are addresses, empty where there is none; without `table` the rows
    stand in the page, newest first. `ends` are those of the axis, where no script draws one;
    `warning` is what a reader must know first.
    """

    chart: Chart
    caption: str
    picture: SafeString
    low: str
    high: str
    csv: str = ""
    svg: str = ""
    table: str = ""
    wide: bool = False
    ends: tuple[str, str] | None = None
    warning: str = ""
    whole: Chart | None = None
    """What scripts draw, where the picture shows fewer points."""
    is_fetched: bool = False
    """Whether scripts fetch the points from the panel's `data-series`, since they are many."""

    @property
    def key(self) -> str:
        return self.chart.key

    @property
    def title(self) -> str:
        return self.chart.title

    @property
    def question(self) -> str:
        return self.chart.question

    @property
    def axis(self) -> str:
        return self.chart.axis

    @property
    def help(self) -> str:
        return self.chart.help

    @property
    def legend(self) -> tuple[Series, ...]:
        return self.chart.series

    @property
    def has_data(self) -> bool:
        return self.chart.has_data

    @property
    def data(self) -> dict[str, Any] | None:
        """For the script beside the picture; None where it is fetched."""
        return None if self.is_fetched else (self.whole or self.chart).as_json()

    @property
    def rows(self) -> list[tuple[str, list[str]]]:
        """Step and values, as they are written, of the newest steps that have any."""
        return list(chart_rows(self.chart))[-TABLE_ROWS:][::-1]


def shown_chart(
    chart: Chart,
    *,
    data: Chart | None = None,
    csv: str = "",
    svg: str = "",
    table: str = "",
    wide: bool = False,
    is_fetched: bool = False,
) -> ShownChart:
    """The picture and words of a chart; `data` for scripts, where that has more points."""
    low, high = bounds(chart)
    write = WRITERS[chart.unit]
    return ShownChart(
        chart=chart,
        caption=caption(chart),
        picture=picture(chart),
        low=write(low),
        high=write(high),
        csv=csv,
        svg=svg,
        table=table,
        wide=wide,
        whole=data,
        is_fetched=is_fetched,
    )


def chart_rows(chart: Chart) -> Iterator[tuple[str, list[str]]]:
    """Each point's step and values as they are written, oldest first; points without a value are
    left out, and a level that goes through all of them is none."""
    write, place = WRITERS[chart.unit], WRITERS[chart.axis_unit]
    for at, step in enumerate(chart.steps):
        if any(line.exact[at] is not None for line in chart.series if line.colour != LEVEL):
            yield place(step), [write(line.exact[at]) for line in chart.series]


def caption(chart: Chart) -> str:
    """The newest value of each line, in words."""
    write = WRITERS[chart.unit]
    parts = []
    for line in chart.series:
        known = _newest(chart, line)
        if known and line.colour != LEVEL:
            place = WRITERS[chart.axis_unit](known[0])
            parts.append(f"{line.label} {write(known[1])} at {chart.axis} {place}")
    return f"{chart.title}: {', '.join(parts)}." if parts else f"{chart.title}: no data yet."


def _newest(chart: Chart, line: Series) -> tuple[int, Value] | None:
    pairs = zip(reversed(chart.steps), reversed(line.exact), strict=True)
    return next(((step, value) for step, value in pairs if value is not None), None)
