"""The arithmetic of buckets: a step's metrics as flat figures, and figures folded together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import isfinite
from typing import Any

SIZES = (4, 16, 64, 256, 1024, 4096)
"""Steps in a bucket. Views of few steps read the steps themselves."""
MOST_POINTS = 400
MOST_NAMES = 40
"""Parts, tools or stop reasons of one step that are followed."""

Cell = list[float]
"""[last, low, high, sum, n]."""
Figures = dict[str, Cell]

_PLAIN = ("train", "validation", "groups", "learning", "seconds", "credit")
_FAMILIES = ("parts", "stops")
_ERRORS = ("errors", "faults")
REWARD = "validation.reward_mean"


def step_figures(metrics: dict[str, Any]) -> dict[str, float]:
    """The numbers of one step by dotted name.

    `train.reward_mean`, `train.parts.<part>`, `stops.<reason>` (shares; of the validation where
    the step did not train), `groups.silent` (1 where no group had signal), `errors.<tool>`,
    `faults.<tool>`, `ungraded.<tool, grader or time>`.
    """
    found = {
        f"{group}.{name}": float(value)
        for group in _PLAIN
        for name, value in (metrics.get(group) or {}).items()
        if _is_number(value)
    }
    if "groups.with_signal" in found:
        found["groups.silent"] = float(not found["groups.with_signal"])
    train, validation = metrics.get("train") or {}, metrics.get("validation") or {}
    for group, figures in (("train", train), ("validation", validation)):
        found |= _named(f"{group}.parts.", figures.get("parts"))
    found |= _shares(train.get("stops") or validation.get("stops") or {})
    tools = train.get("tools") or {}
    for kind in _ERRORS:
        counts = {tool: counted.get(kind) for tool, counted in tools.items()}
        found |= _named(f"{kind}.", counts)
    return found | _causes(train.get("ungraded_causes") or {})


def fold(figures: Figures, newer: Figures) -> Figures:
    """Both together; `newer` holds later steps."""
    folded = dict(figures)
    for name, cell in newer.items():
        old = folded.get(name)
        folded[name] = cell if old is None else _joined(old, cell)
    return folded


def cells(found: dict[str, float]) -> Figures:
    """One step as a bucket of one."""
    return {name: [value, value, value, value, 1] for name, value in found.items()}


def bucket_rows(steps: Iterable[tuple[int, dict[str, Any]]]) -> Iterator[dict[str, Any]]:
    """The fields of every bucket of a run from its (step, metrics) in order, each size apart.

    Holds one open bucket a size in memory, however many steps there are, and adds to it in place:
    a copy for each step and size would take most of the time.
    """
    opened: dict[int, tuple[int, Figures]] = {}
    last = 0
    for step, metrics in steps:
        found = step_figures(metrics)
        for size in SIZES:
            first = step // size * size
            if size not in opened or opened[size][0] != first:
                if size in opened:
                    yield _bucket(size, first=opened[size][0], last=last, figures=opened[size][1])
                opened[size] = first, {}
            _add(opened[size][1], found)
        last = step
    for size, (first, figures) in opened.items():
        yield _bucket(size, first=first, last=last, figures=figures)


def bucket_grown(
    bucket: dict[str, Any] | None, size: int, step: int, newest: Figures
) -> dict[str, Any]:
    """The fields of the bucket of `size` that holds `step`, with the step's figures in it."""
    figures = fold(bucket["figures"], newest) if bucket else newest
    return _bucket(size, first=step // size * size, last=step, figures=figures)


def _bucket(size: int, *, first: int, last: int, figures: Figures) -> dict[str, Any]:
    reward = figures.get(REWARD)
    return {
        "size": size,
        "first": first,
        "last": last,
        "validation_reward": reward[0] if reward else None,
        "figures": figures,
    }


def buckets_of(points: Iterable[tuple[int, int, Figures]], size: int) -> list[tuple[int, Figures]]:
    """(last step, figures) of each `size` steps from (first, last, figures) of smaller ones."""
    found: dict[int, tuple[int, Figures]] = {}
    for first, last, figures in points:
        at = first // size
        found[at] = (last, fold(found[at][1], figures)) if at in found else (last, figures)
    return list(found.values())


def bucket_size(steps: int) -> int:
    """The smallest power of two for which so many steps make at most `MOST_POINTS` buckets."""
    size = 1
    while size * MOST_POINTS < steps:
        size *= 2
    return size


def stored_size(size: int) -> int:
    """The largest stored size that divides `size`; 1 stands for the steps themselves."""
    return max((each for each in SIZES if each <= size), default=1)


def _add(figures: Figures, found: dict[str, float]) -> None:
    """Fold one step into figures that nobody else holds."""
    for name, value in found.items():
        cell = figures.get(name)
        if cell is None:
            figures[name] = [value, value, value, value, 1]
            continue
        cell[0] = value
        if value < cell[1]:
            cell[1] = value
        elif value > cell[2]:
            cell[2] = value
        cell[3] += value
        cell[4] += 1


def _joined(old: Cell, new: Cell) -> Cell:
    low, high = min(old[1], new[1]), max(old[2], new[2])
    return [new[0], low, high, old[3] + new[3], old[4] + new[4]]


def _named(prefix: str, values: Any) -> dict[str, float]:
    known = sorted((name, value) for name, value in (values or {}).items() if _is_number(value))
    return {f"{prefix}{name}": float(value) for name, value in known[:MOST_NAMES]}


def _shares(stops: dict[str, Any]) -> dict[str, float]:
    total = sum(stops.values())
    return _named("stops.", {name: n / total for name, n in stops.items()} if total else {})


def _causes(causes: dict[str, Any]) -> dict[str, float]:
    """Causes are sentences: what stands before the colon is the thing to blame."""
    blamed: dict[str, float] = {}
    for cause, n in causes.items():
        name = str(cause).partition(":")[0][:60]
        blamed[name] = blamed.get(name, 0.0) + n
    return _named("ungraded.", blamed)


def _is_number(value: object) -> bool:
    is_plain = isinstance(value, int | float) and not isinstance(value, bool)
    return is_plain and isfinite(float(value))  # type: ignore[arg-type]
