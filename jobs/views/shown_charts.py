"""A chart as the page shows it before any script runs: picture, legend and a sentence."""

from __future__ import annotations

from dataclasses import dataclass

from django.utils.safestring import SafeString

from hone.core import figures
from jobs.views.charts import Chart, Series
from jobs.views.svg import bounds, picture

LEVEL = "text-3"
"""The colour of the base model's level, which is no news of a step."""
_WRITERS = {
    "reward": figures.reward,
    "decimal": figures.decimal,
    "small": figures.small,
    "share": figures.share,
    "count": figures.count,
    "seconds": figures.duration,
}


@dataclass(frozen=True)
class ShownChart:
    """What the template needs of a chart; `legend` pairs a colour with a name."""

    key: str
    title: str
    question: str
    caption: str
    legend: list[Series]
    picture: SafeString
    low: str
    high: str
    has_data: bool


def shown_chart(chart: Chart) -> ShownChart:
    """The picture and words of a chart."""
    low, high = bounds(chart)
    write = _WRITERS[chart.unit]
    return ShownChart(
        key=chart.key,
        title=chart.title,
        question=chart.question,
        caption=caption(chart),
        legend=list(chart.series),
        picture=picture(chart),
        low=write(low),
        high=write(high),
        has_data=chart.has_data,
    )


def caption(chart: Chart) -> str:
    """The newest value of each line, in words."""
    write = _WRITERS[chart.unit]
    parts = []
    for line in chart.series:
        known = [
            (step, value)
            for step, value in zip(chart.steps, line.values, strict=True)
            if value is not None
        ]
        if known and line.colour != LEVEL:
            parts.append(f"{line.label} {write(known[-1][1])} at step {known[-1][0]}")
    return f"{chart.title}: {', '.join(parts)}." if parts else f"{chart.title}: no data yet."
