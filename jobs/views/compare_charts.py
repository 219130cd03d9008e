"""The pictures of a comparison: curves on one axis, reward against cost, one line a task."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from hone.core import figures
from jobs.forms.compare import AXES
from jobs.selectors.compare.curves import Curve, aligned
from jobs.selectors.compare.paired import Pair
from jobs.selectors.compare.sides import Side, figure
from jobs.selectors.compare.tasks import Results
from jobs.views.charts import Chart, Series, Value
from jobs.views.shown_charts import LEVEL, WRITERS, ShownChart, shown_chart

WIDE, HIGH, EDGE = 320, 200, 10
DUMBBELL = 160
Write = Callable[[float | None], str]


@dataclass(frozen=True)
class _Kind:
    """One chart: which column, how its numbers are written, and whether it has a base level."""

    key: str
    title: str
    question: str
    unit: str
    column: str
    base: str = ""


KINDS = (
    _Kind("reward", "Validation reward", "Which one solves more?", "reward", "validation_reward",
          base="reward_mean"),
    _Kind("calls", "Tool calls p95, validation", "Which one needs fewer calls?", "decimal",
          "validation_tool_calls_p95"),
    _Kind("loops", "Loop rate, validation", "Which one repeats itself?", "share",
          "validation_loop_rate"),
    _Kind("train", "Train reward", "Which one learns sooner?", "reward", "train_reward"),
    _Kind("tokens", "Tokens p95, validation", "Which one runs on?", "count",
          "validation_tokens_p95"),
)  # fmt: skip
_AXIS_UNITS = {"step": "count", "tokens": "count", "wall": "seconds", "hours": "seconds"}
_PLACE_WORDS = {"step": "step {}", "tokens": "{} tokens", "wall": "{}", "hours": "{} worked"}


def colour(at: int) -> str:
    """The colour, and with it the dash, of the job at this place."""
    return f"s{at + 1}"


def compared_charts(
    sides: Sequence[Side], curves: Sequence[Curve], axis: str, *, solo: int | None
) -> list[Chart]:
    """All curves on one axis; with `solo` only one job's, on the same scale."""
    return [_compared(kind, sides, curves, axis, solo) for kind in KINDS]


def place_words(curves: Sequence[Curve], axis: str) -> list[str]:
    """How the crosshair names each place of the axis, which all charts share."""
    write = WRITERS[_AXIS_UNITS[axis]]
    return [_PLACE_WORDS[axis].format(write(x)) for x in aligned(curves, "step", axis).places]


def _line(name: str, colour: str, values: tuple[Value, ...]) -> Series:
    """Evaluations are rare, and the points of one job lie between those of another."""
    return Series(name, colour, values, dots=_is_point(values), across=True)


def _is_point(values: Sequence[Value]) -> bool:
    """One value makes no line, so it is drawn as a dot."""
    return sum(value is not None for value in values) == 1


def _compared(
    kind: _Kind, sides: Sequence[Side], curves: Sequence[Curve], axis: str, solo: int | None
) -> Chart:
    found = aligned(curves, kind.column, axis)
    lines = [
        _line(side.name, colour(at), found.values[at])
        for at, side in enumerate(sides)
        if solo in {None, at}
    ]
    levels = _base_levels(kind, sides, solo, len(found.places))
    known = [
        value
        for values in (*found.values, *(level.values for level in levels))
        for value in values
        if value is not None
    ]
    return Chart(
        key=kind.key,
        title=kind.title,
        question=kind.question,
        unit=kind.unit,
        steps=found.places,
        series=(*lines, *levels),
        low=min([0.0, *known]),
        high=max([1.0, *known]) if kind.unit == "reward" else max(known, default=None),
        axis=dict(AXES)[axis],
        axis_unit=_AXIS_UNITS[axis],
    )


def _base_levels(kind: _Kind, sides: Sequence[Side], solo: int | None, places: int) -> list[Series]:
    """The base models' values, one level for all that share one."""
    if not kind.base:
        return []
    values: dict[float, list[str]] = {}
    for at, side in enumerate(sides):
        value = figure(side.base, kind.base)
        if value is not None and solo in {None, at}:
            values.setdefault(value, []).append(side.name)
    shared = len(values) == 1
    return [
        Series(
            "base model" if shared else f"base of {', '.join(names)}",
            LEVEL,
            (value,) * places,
            dashed=True,
        )
        for value, names in values.items()
    ]


def shown_compared(chart: Chart, *, csv: str, svg: str, warning: str) -> ShownChart:
    """As the page shows it; `warning` is of the rewards."""
    ends = [WRITERS[chart.axis_unit](place) for place in (chart.steps or (0,))]
    is_reward = chart.key == "reward"
    shown = shown_chart(chart, csv=csv, svg=svg, wide=is_reward)
    return replace(shown, ends=(ends[0], ends[-1]), warning=warning if is_reward else "")


@dataclass(frozen=True)
class Scatter:
    """Reward against what an attempt costs: from each base model to the step that is looked at."""

    title: str
    question: str
    picture: SafeString
    left: str
    right: str
    low: str
    high: str
    caption: str


@dataclass(frozen=True)
class Move:
    """Where one job began and where it is: (cost, reward) each."""

    name: str
    colour: str
    start: tuple[float, float] | None
    end: tuple[float, float]


def moves(sides: Sequence[Side], found: Mapping[tuple[str, int], Results], cost: str) -> list[Move]:
    """The means of each side's base and step; left out where nothing was graded."""
    made = []
    for at, side in enumerate(sides):
        end = (
            None if side.focus is None else _mean_point(found.get((side.run_id, side.focus)), cost)
        )
        if end is not None:
            start = _mean_point(found.get((side.run_id, 0)), cost)
            made.append(Move(side.name, colour(at), start, end))
    return made


def _mean_point(results: Results | None, cost: str) -> tuple[float, float] | None:
    """Means over attempts, as the metrics of a step are: tasks with more of them count more."""
    tasks = list((results or {}).values())
    graded = sum(each.graded for each in tasks)
    if not graded:
        return None
    spent = sum(each.attempts * getattr(each, cost) for each in tasks)
    earned = sum(each.graded * (each.reward or 0.0) for each in tasks)
    return spent / sum(each.attempts for each in tasks), earned / graded


def scatter(title: str, question: str, moved: Sequence[Move], write: Write) -> Scatter | None:
    """None where there is nothing to place."""
    points = [point for move in moved for point in (move.start, move.end) if point is not None]
    if not points:
        return None
    right = max(cost for cost, _ in points) * 1.05 or 1.0
    low = min(0.0, *(reward for _, reward in points))
    high = max(1.0, *(reward for _, reward in points))

    def at(point: tuple[float, float]) -> tuple[str, str]:
        x = EDGE + (WIDE - 2 * EDGE) * point[0] / right
        y = HIGH - EDGE - (HIGH - 2 * EDGE) * (point[1] - low) / (high - low)
        return f"{x:.1f}", f"{y:.1f}"

    said = ", ".join(
        f"{move.name} {figures.reward(move.end[1])} at {write(move.end[0])}" for move in moved
    )
    return Scatter(
        title=title,
        question=question,
        picture=format_html(
            '<svg class="scatter" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>',
            WIDE,
            HIGH,
            f"{title}: {said}",
            format_html_join("", "{}", ((_arrow(move, at),) for move in moved)),
        ),
        left=write(0.0),
        right=write(right),
        low=figures.reward(low),
        high=figures.reward(high),
        caption=f"{said}. Hollow is the base model.",
    )


def _arrow(move: Move, at: Callable[[tuple[float, float]], tuple[str, str]]) -> SafeString:
    x, y = at(move.end)
    head = format_html('<circle class="fill-{}" cx="{}" cy="{}" r="5"/>', move.colour, x, y)
    if move.start is None:
        return head
    from_x, from_y = at(move.start)
    return format_html(
        '<path class="stroke-{0}" d="M{1} {2}L{3} {4}"/>'
        '<circle class="stroke-{0} hollow" cx="{1}" cy="{2}" r="4"/>{5}',
        move.colour,
        from_x,
        from_y,
        x,
        y,
        head,
    )


def dumbbell(pair: Pair, low: float, high: float, colours: tuple[str, str]) -> SafeString:
    """A small dot before, a large one after, a line between; its numbers stand beside it."""
    span = (high - low) or 1.0
    before, after = (
        6 + (DUMBBELL - 12) * (value - low) / span for value in (pair.before, pair.after)
    )
    return format_html(
        '<svg class="dumbbell" viewBox="0 0 {0} 16" width="{0}" height="16" aria-hidden="true">'
        '<path class="track" d="M6 8H{1}"/><path class="bar" d="M{2} 8H{3}"/>'
        '<circle class="fill-{4}" cx="{2}" cy="8" r="3"/>'
        '<circle class="fill-{5}" cx="{3}" cy="8" r="5"/></svg>',
        DUMBBELL,
        DUMBBELL - 6,
        f"{before:.1f}",
        f"{after:.1f}",
        *colours,
    )


def change_scatter(pairs: Sequence[Pair]) -> SafeString:
    """One dot a task: change of calls to the right, of reward upwards, zero in the middle."""
    reach_x = max((abs(pair.calls_change) for pair in pairs), default=0.0) or 1.0
    reach_y = max((abs(pair.change) for pair in pairs), default=0.0) or 1.0
    dots = (
        (
            f"{WIDE / 2 + (WIDE / 2 - EDGE) * pair.calls_change / reach_x:.1f}",
            f"{HIGH / 2 - (HIGH / 2 - EDGE) * pair.change / reach_y:.1f}",
        )
        for pair in pairs
    )
    return format_html(
        '<svg class="scatter" viewBox="0 0 {0} {1}" aria-hidden="true">'
        '<path class="stroke-text-3" d="M0 {2}H{0}M{3} 0V{1}"/>{4}</svg>',
        WIDE,
        HIGH,
        HIGH / 2,
        WIDE / 2,
        format_html_join("", '<circle class="fill-s1 faint" cx="{}" cy="{}" r="4"/>', dots),
    )


def spread(pairs: Sequence[Pair]) -> tuple[float, float]:
    """The axis of the dumbbells: 0 to 1, and as far beyond as rewards go."""
    known = [value for pair in pairs for value in (pair.before, pair.after)]
    return min([0.0, *known]), max([1.0, *known])
