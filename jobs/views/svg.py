"""Small graphics made on the server: geometry in attributes, colour by class, no script."""

from __future__ import annotations

from collections.abc import Sequence

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from jobs.views.charts import Chart, Series, Value

WIDTH, HEIGHT = 1000, 200
Point = tuple[float, float]


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


COLOURS = {
    "s1": "#077FC5", "s2": "#D55E00", "s3": "#07694E", "s4": "#B1277E", "s5": "#634205",
    "s6": "#292D32", "text-3": "#596372", "bad": "#8C2318",
}  # fmt: skip
"""The light tokens, for pictures that leave the page."""


def standalone(chart: Chart) -> str:
    """The picture as a file of its own: title, colours, ends of both axes and legend in it."""
    low, high = bounds(chart)
    rules = "".join(
        f".stroke-{name}{{stroke:{colour}}}.fill-{name}{{fill:{colour}}}"
        for name, colour in COLOURS.items()
    )
    look = (
        "text{font:14px sans-serif;fill:#1A1F27}path{fill:none;stroke-width:2}"
        ".band{stroke:none;fill-opacity:.18}.raw{stroke-width:1;stroke-opacity:.35}"
        ".dots{stroke-width:7;stroke-linecap:round}.dashed{stroke-dasharray:6 4}" + rules
    )
    names = format_html_join(
        " ",
        '<tspan class="fill-{}">{}</tspan>',
        ((line.colour, line.label) for line in chart.series),
    )
    ends = f"{chart.steps[0]} to {chart.steps[-1]}" if chart.steps else "none"
    return format_html(
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="-10 -40 1020 300" width="1020" '
        'height="300"><title>{}</title><style>{}</style><rect x="-10" y="-40" width="1020" '
        'height="300" fill="#FFFFFF"/><text y="-18">{}, {} to {}; {} {}</text>{}'
        '<text y="240">{}</text></svg>',
        chart.title,
        SafeString(look),
        chart.title,
        f"{low:.4g}",
        f"{high:.4g}",
        "steps" if chart.axis == "step" else chart.axis,
        ends,
        _lines(chart) if chart.kind == "line" else _layers(chart),
        names,
    )


def bounds(chart: Chart) -> tuple[float, float]:
    """The lowest and highest value of the axis."""
    if chart.kind == "line":
        edges = [each for line in chart.series for each in (line.values, line.low, line.high)]
        known = [value for values in edges for value in values if value is not None]
    else:
        known = [sum(layer or 0.0 for layer in stack) for stack in _stacks(chart)]
    low = chart.low if chart.low is not None else min(known, default=0.0)
    high = chart.high if chart.high is not None else max(known, default=1.0)
    return low, high if high > low else low + 1.0


def _stacks(chart: Chart) -> list[tuple[Value, ...]]:
    return list(zip(*(line.values for line in chart.series), strict=True))


def _lines(chart: Chart) -> SafeString:
    low, high = bounds(chart)
    drawn = [
        shape
        for line in chart.series
        for shape in (*_behind(line, low=low, high=high), _front(line, low=low, high=high))
    ]
    return format_html_join("", '<path d="{}" class="{}"/>', drawn)


def _front(line: Series, *, low: float, high: float) -> tuple[str, str]:
    return _path(line, low=low, high=high), f"stroke-{line.colour}{_style(line)}"


def _behind(line: Series, *, low: float, high: float) -> list[tuple[str, str]]:
    """Band, raw values or whiskers of a line."""
    found = []
    if line.high and line.dots:
        edges = (_scaled(each, low=low, high=high) for each in (line.low, line.high))
        strokes = [
            f"M{a[0]:.1f} {a[1]:.1f}V{b[1]:.1f}" for a, b in zip(*edges, strict=True) if a and b
        ]
        found.append(("".join(strokes), f"whisker stroke-{line.colour}"))
    elif line.high:
        edges = (_scaled(each, low=low, high=high) for each in (line.low, line.high))
        found.append((_band(list(zip(*edges, strict=True))), f"band fill-{line.colour}"))
    if line.raw:
        path = _joined(line.raw, low=low, high=high, width=WIDTH, height=HEIGHT)
        found.append((path, f"raw stroke-{line.colour}"))
    return found


def _scaled(values: Sequence[Value], *, low: float, high: float) -> list[Point | None]:
    return _points(values, low=low, high=high, width=WIDTH, height=HEIGHT)


def _band(edges: Sequence[tuple[Point | None, Point | None]]) -> str:
    """One closed shape for each unbroken stretch."""
    shapes, stretch = [], list[tuple[Point, Point]]()
    for low, high in [*edges, (None, None)]:
        if low is not None and high is not None:
            stretch.append((low, high))
        elif stretch:
            around = [*(low for low, _ in stretch), *(high for _, high in reversed(stretch))]
            shapes.append("M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in around) + "Z")
            stretch = []
    return "".join(shapes)


def _style(line: Series) -> str:
    return (" dashed" if line.dashed else "") + (" dots" if line.dots else "")


def _path(line: Series, *, low: float, high: float) -> str:
    if line.dots:
        return _dots(line.values, low=low, high=high)
    if line.across:
        known = filter(None, _scaled(line.values, low=low, high=high))
        drawn = "L".join(f"{x:.1f} {y:.1f}" for x, y in known)
        return f"M{drawn}" if drawn else ""
    return _joined(line.values, low=low, high=high, width=WIDTH, height=HEIGHT)


def _dots(values: Sequence[Value], *, low: float, high: float) -> str:
    points = _points(values, low=low, high=high, width=WIDTH, height=HEIGHT)
    return "".join(f"M{x:.1f} {y:.1f}h0" for x, y in (at for at in points if at is not None))


def _joined(
    values: Sequence[Value], *, low: float, high: float, width: float, height: float
) -> str:
    """One path; an unknown value breaks it, and a value between two of them is a dot."""
    commands: list[str] = []
    points = _points(values, low=low, high=high, width=width, height=height)
    for before, at, behind in zip([None, *points], points, [*points[1:], None], strict=False):
        if at is not None:
            pen = "M" if before is None else "L"
            alone = "h0" if before is None and behind is None else ""
            commands.append(f"{pen}{at[0]:.1f} {at[1]:.1f}{alone}")
    return "".join(commands)


def _points(
    values: Sequence[Value], *, low: float, high: float, width: float, height: float
) -> list[Point | None]:
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
