"""Charts as plain data, of any page; `jobs.views.shown_charts` makes what a template shows."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

Value = float | None

DIGITS, DIGITS_OF_MANY = 6, 4
FEW_POINTS = 100
"""Points of longer charts are sent with fewer digits: more than a screen can show."""
EXACT_WHOLE = 1e15


@dataclass(frozen=True)
class Series:
    """One line, row of dots or layer of a stack. `colour` is a token of the style sheet.

    `low` and `high`, one a value or empty: the band of a line (what its bucket reached), the
    whisker of a dot (its interval). `raw`: the values before smoothing, drawn faintly.
    `across`: the values are rare, and the line goes on over the unknown ones between them.
    """

    label: str
    colour: str
    values: tuple[Value, ...]
    dots: bool = False
    dashed: bool = False
    across: bool = False
    low: tuple[Value, ...] = ()
    high: tuple[Value, ...] = ()
    raw: tuple[Value, ...] = ()

    @property
    def exact(self) -> tuple[Value, ...]:
        """What tables, captions and legends say: never the smoothed values."""
        return self.raw or self.values

    def as_json(self, digits: int) -> dict[str, Any]:
        """What the browser draws from; empty lists are left out."""
        found: dict[str, Any] = {"label": self.label, "colour": self.colour}
        found |= {"dots": self.dots, "dashed": self.dashed}
        for name in ("values", "low", "high", "raw"):
            values = getattr(self, name)
            if values or name == "values":
                found[name] = [_short(value, digits) for value in values]
        return found


@dataclass(frozen=True)
class Chart:
    """`kind` is line or stack; `unit` names how its numbers are written.

    `first` and `last` are the ends of the axis of steps, where they are not those of the points.
    `axis` names what `steps` are of, and `axis_unit` how they are written.
    `log`: the axis of values counts in powers of ten. `help` explains a term of the field.
    """

    key: str
    title: str
    question: str
    unit: str
    steps: tuple[int, ...]
    series: tuple[Series, ...]
    kind: str = "line"
    low: Value = 0.0
    high: Value = None
    first: int | None = None
    last: int | None = None
    log: bool = False
    help: str = ""
    axis: str = "step"
    axis_unit: str = "count"

    @property
    def has_data(self) -> bool:
        return any(value is not None for line in self.series for value in line.values)

    def as_json(self) -> dict[str, Any]:
        """What the browser draws from."""
        digits = DIGITS if len(self.steps) <= FEW_POINTS else DIGITS_OF_MANY
        return {
            "key": self.key,
            "kind": self.kind,
            "unit": self.unit,
            "low": self.low,
            "high": self.high,
            "from": self.first,
            "to": self.last,
            "log": self.log,
            "steps": list(self.steps),
            "series": [line.as_json(digits) for line in self.series],
        }


def after(chart: Chart, step: int) -> dict[str, Any]:
    """As JSON the part of a chart that is newer than `step`; `keep`: how many points are not."""
    first = bisect_right(chart.steps, step)
    newer = replace(
        chart,
        steps=chart.steps[first:],
        series=tuple(
            replace(
                line,
                values=line.values[first:],
                low=line.low[first:],
                high=line.high[first:],
                raw=line.raw[first:],
            )
            for line in chart.series
        ),
    )
    return newer.as_json() | {"keep": first}


def thinned(chart: Chart, most: int = FEW_POINTS) -> Chart:
    """For the picture without scripts: every so many points one, the last one always."""
    every = -(-len(chart.steps) // most) if chart.steps else 1
    if every == 1:
        return chart

    def some(values: tuple[Value, ...]) -> tuple[Value, ...]:
        return values[::-1][::every][::-1]

    lines = (
        replace(
            line,
            values=_latest(line.values, every) if line.dots else some(line.values),
            low=_edge(line.low, every, min),
            high=_edge(line.high, every, max),
            raw=some(line.raw),
        )
        for line in chart.series
    )
    return replace(chart, steps=chart.steps[::-1][::every][::-1], series=tuple(lines))


def _chunks(values: tuple[Value, ...], every: int) -> list[list[float]]:
    """The known values of each `every` points, counted from the end."""
    if not values:
        return []
    short = len(values) % every
    starts = [0] * bool(short) + list(range(short, len(values), every))
    ends = [*starts[1:], len(values)]
    pairs = zip(starts, ends, strict=True)
    return [[v for v in values[start:end] if v is not None] for start, end in pairs]


def _latest(values: tuple[Value, ...], every: int) -> tuple[Value, ...]:
    return tuple(known[-1] if known else None for known in _chunks(values, every))


def _edge(
    values: tuple[Value, ...], every: int, pick: Callable[[list[float]], float]
) -> tuple[Value, ...]:
    return tuple(pick(known) if known else None for known in _chunks(values, every))


def _short(value: Value, digits: int) -> Value:
    if value is None:
        return None
    short = float(f"{value:.{digits}g}")
    return int(short) if short.is_integer() and abs(short) < EXACT_WHOLE else short
