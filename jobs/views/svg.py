"""Small graphics made on the server: geometry in attributes, colour by class, no script."""

from __future__ import annotations

from collections.abc import Sequence

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from jobs.views.charts import Chart, Series, Value

WIDTH, HEIGHT = 1000, 200


def sparkline(values: Sequence[Value], *, low: float, high: float, label: str) -> SafeString:
    """A line of 96 by 20; gaps where a value is unknown. Empty where there are under two."""
    if sum(value is not None for value in values) < 2:
        return SafeString("")
    return format_html(
        '<svg class="spark" viewBox="0 0 96 20" width="96" height="20" role="img" aria-label="{}">'
        '<path d="{}" class="stroke-s1"/></svg>',
        label,
        _joined(values, low=low, high=high, width=96, height=20),
    )


def picture(chart: Chart) -> SafeString:
    """The whole chart, for readers without JavaScript; its table has the numbers."""
    draw = _lines if chart.kind == "line" else _layers
    return format_html(
        '<svg class="plot" viewBox="0 0 {} {}" preserveAspectRatio="none" aria-hidden="true">'
        "{}</svg>",
        WIDTH,
        HEIGHT,
        draw(chart),
    )


def bounds(chart: Chart) -> tuple[float, float]:
    """The lowest and highest value of the axis."""
    if chart.kind == "line":
        known = [value for line in chart.series for value in line.values if value is not None]
    else:
        known = [sum(layer or 0.0 for layer in stack) for stack in _stacks(chart)]
    low = chart.low if chart.low is not None else min(known, default=0.0)
    high = chart.high if chart.high is not None else max(known, default=1.0)
    return low, high if high > low else low + 1.0


def _stacks(chart: Chart) -> list[tuple[Value, ...]]:
    return list(zip(*(line.values for line in chart.series), strict=True))


def _lines(chart: Chart) -> SafeString:
    low, high = bounds(chart)
    return format_html_join(
        "",
        '<path d="{}" class="stroke-{}{}"/>',
        ((_path(line, low=low, high=high), line.colour, _style(line)) for line in chart.series),
    )


def _style(line: Series) -> str:
    return (" dashed" if line.dashed else "") + (" dots" if line.dots else "")


def _path(line: Series, *, low: float, high: float) -> str:
    if line.dots:
        return _dots(line.values, low=low, high=high)
    return _joined(line.values, low=low, high=high, width=WIDTH, height=HEIGHT)


def _dots(values: Sequence[Value], *, low: float, high: float) -> str:
    points = _points(values, low=low, high=high, width=WIDTH, height=HEIGHT)
    return "".join(f"M{x:.1f} {y:.1f}h0" for x, y in (at for at in points if at is not None))


def _joined(
    values: Sequence[Value], *, low: float, high: float, width: float, height: float
) -> str:
    """One path; an unknown value is a gap, unless known ones are far apart (evaluations)."""
    commands: list[str] = []
    pen = "M"
    for at in _points(values, low=low, high=high, width=width, height=height):
        if at is not None:
            commands.append(f"{pen}{at[0]:.1f} {at[1]:.1f}")
            pen = "L"
    return "".join(commands)


def _points(
    values: Sequence[Value], *, low: float, high: float, width: float, height: float
) -> list[tuple[float, float] | None]:
    gap = width / max(len(values) - 1, 1)
    span = (high - low) or 1.0
    return [
        None
        if value is None
        else (index * gap, height - height * min(max((value - low) / span, 0.0), 1.0))
        for index, value in enumerate(values)
    ]


def _layers(chart: Chart) -> SafeString:
    _, high = bounds(chart)
    bar = WIDTH / max(len(chart.steps), 1)
    boxes: list[tuple[str, str, str, str, str]] = []
    for index, stack in enumerate(_stacks(chart)):
        foot = float(HEIGHT)
        for line, value in zip(chart.series, stack, strict=True):
            tall = HEIGHT * (value or 0.0) / high
            foot -= tall
            left, wide = f"{index * bar:.1f}", f"{max(bar - 2, 1):.1f}"
            boxes.append((line.colour, left, f"{foot:.1f}", wide, f"{tall:.1f}"))
    return format_html_join(
        "", '<rect class="fill-{}" x="{}" y="{}" width="{}" height="{}"/>', boxes
    )
