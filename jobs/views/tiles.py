"""The figures under the verdict, each with its trend and a door to the rows that made it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from django.utils.safestring import SafeString

from jobs.models import JobStep
from jobs.selectors import Tile
from jobs.views.charts import Value
from jobs.views.svg import sparkline

TREND = 120
"""How many of the newest points a sparkline shows."""


@dataclass(frozen=True)
class _Source:
    """Where a tile's number comes from and where it leads."""

    group: str
    key: str
    door: str
    how: str
    unit_scale: bool = False


_SOURCES = {
    "Validation reward": _Source(
        "validation",
        "reward_mean",
        "trajectories/?split=validation",
        "Mean reward of the graded attempts at the validation tasks",
        unit_scale=True,
    ),
    "Train reward": _Source(
        "train",
        "reward_mean",
        "trajectories/?split=train",
        "Mean reward of the graded training attempts of the newest step",
        unit_scale=True,
    ),
    "Tool calls p95": _Source(
        "validation",
        "tool_calls_p95",
        "trajectories/?split=validation",
        "95th percentile of tool calls in an attempt at a validation task",
    ),
    "Tokens p95": _Source(
        "validation",
        "tokens_p95",
        "trajectories/?split=validation",
        "95th percentile of sampled tokens in an attempt at a validation task",
    ),
    "Loop rate": _Source(
        "validation",
        "loop_rate",
        "trajectories/?split=validation&flag=looped",
        "Share of validation attempts stopped as a loop, or with one call and result three times",
        unit_scale=True,
    ),
    "Ungraded": _Source(
        "train",
        "ungraded",
        "trajectories/?flag=ungraded",
        "Attempts without a reward, for a fault of a tool or a grader. They are never trained on",
    ),
    "Step time": _Source("seconds", "total", "#chart-seconds", "Whole time of the newest step"),
}


@dataclass(frozen=True)
class ShownTile:
    """A tile of the page."""

    title: str
    value: str
    note: str
    door: str
    how: str
    spark: SafeString


def shown_tiles(tiles: Iterable[Tile], steps: Sequence[JobStep]) -> list[ShownTile]:
    """The selector's tiles with doors and trends."""
    return [_shown(tile, steps) for tile in tiles]


def _shown(tile: Tile, steps: Sequence[JobStep]) -> ShownTile:
    source = _SOURCES[tile.title]
    found = (figure_of(step, source.group, source.key) for step in steps)
    known = [value for value in found if value is not None][-TREND:]
    return ShownTile(
        title=tile.title,
        value=tile.value,
        note=tile.note,
        door=_door(source.door, tile.step),
        how=f"{source.how} ({source.group}.{source.key} in the API).",
        spark=sparkline(
            known,
            low=min([0.0, *known]),
            high=1.0 if source.unit_scale else max([1e-9, *known]),
            label=f"{tile.title}, the last {len(known)} values",
        ),
    )


def _door(door: str, step: int | None) -> str:
    """To the rows of the step that the number is of."""
    return door if step is None or door.startswith("#") else f"{door}&step={step}"


def figure_of(step: JobStep, group: str, key: str) -> Value:
    """A number of the step's metrics; None where it is not told."""
    value = (step.metrics.get(group) or {}).get(key)
    return float(value) if isinstance(value, int | float) else None
