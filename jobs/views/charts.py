"""The job page's charts as plain data, made from the columns of `jobs.selectors.job_series`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from jobs.engine.types import FAULTS

Value = float | None
Columns = dict[str, Any]

MOST_PARTS = 6
FAULT_STOPS = frozenset(str(stop) for stop in FAULTS)
OWN_LAYER = FAULT_STOPS | {"final_answer", "token_loop", "tool_loop"}


@dataclass(frozen=True)
class Series:
    """One line, row of dots or layer of a stack. `colour` is a token of the style sheet."""

    label: str
    colour: str
    values: tuple[Value, ...]
    dots: bool = False
    dashed: bool = False


@dataclass(frozen=True)
class Chart:
    """`kind` is line or stack; `unit` names how its numbers are written."""

    key: str
    title: str
    question: str
    unit: str
    steps: tuple[int, ...]
    series: tuple[Series, ...]
    kind: str = "line"
    low: Value = 0.0
    high: Value = None

    @property
    def has_data(self) -> bool:
        return any(value is not None for line in self.series for value in line.values)

    def as_json(self) -> dict[str, Any]:
        """What the browser draws from."""
        return {
            "key": self.key,
            "kind": self.kind,
            "unit": self.unit,
            "low": self.low,
            "high": self.high,
            "steps": list(self.steps),
            "series": [
                {
                    "label": line.label,
                    "colour": line.colour,
                    "dots": line.dots,
                    "dashed": line.dashed,
                    "values": [_short(value) for value in line.values],
                }
                for line in self.series
            ],
        }


@dataclass(frozen=True)
class _Lines:
    """A chart whose lines are plain columns: (label, colour, column, dots)."""

    key: str
    title: str
    question: str
    unit: str
    lines: tuple[tuple[str, str, str, bool], ...]


_CALLS = _Lines(
    "calls",
    "Tool calls per trajectory",
    "How many calls does an attempt take?",
    "decimal",
    (
        ("mean", "s1", "tool_calls_mean", False),
        ("p95", "s2", "tool_calls_p95", False),
        ("validation p95", "s4", "validation_tool_calls_p95", True),
    ),
)
_TOKENS = _Lines(
    "tokens",
    "Tokens per trajectory",
    "How long does an attempt run on?",
    "count",
    (
        ("mean", "s1", "tokens_mean", False),
        ("p95", "s2", "tokens_p95", False),
        ("p99", "s3", "tokens_p99", False),
        ("validation p95", "s4", "validation_tokens_p95", True),
    ),
)
_LOOPS = _Lines(
    "loops",
    "Loop rate",
    "How many attempts repeat themselves?",
    "share",
    (("train", "s1", "loop_rate", False), ("validation", "s2", "validation_loop_rate", True)),
)
_GROUPS = _Lines(
    "groups",
    "Groups of attempts at one task",
    "How many groups can teach something?",
    "count",
    (
        ("all", "s6", "groups_total", False),
        ("with signal", "s1", "groups_with_signal", False),
        ("all solved", "s3", "groups_all_solved", False),
        ("all failed", "s2", "groups_all_failed", False),
    ),
)
_ENTROPY = _Lines(
    "entropy",
    "Entropy per token",
    "Does the model still try different things?",
    "reward",
    (("entropy", "s1", "entropy", False),),
)
_MISMATCH = _Lines(
    "mismatch",
    "Sampler against trainer",
    "Do both give the same probabilities?",
    "small",
    (("mismatch KL", "s1", "mismatch_kl", False),),
)


def job_charts(columns: Columns) -> list[Chart]:
    """All charts of a job, in order of trust: reward, tails, stops, health, time."""
    return [
        reward_chart(columns),
        parts_chart(columns),
        _plain(columns, _CALLS),
        _plain(columns, _TOKENS),
        stops_chart(columns),
        _plain(columns, _LOOPS),
        seconds_chart(columns),
        _plain(columns, _GROUPS),
        _plain(columns, _ENTROPY),
        _plain(columns, _MISMATCH),
    ]


def reward_chart(columns: Columns) -> Chart:
    """Training and validation reward, and the base model's as a level."""
    steps = tuple(columns["step"])
    validation = tuple(columns["validation_reward"])
    train = tuple(columns["train_reward"])
    base = validation[0] if steps and steps[0] == 0 else None
    known = [value for value in (*validation, *train) if value is not None]
    return Chart(
        key="reward",
        title="Reward",
        question="Is it learning?",
        unit="reward",
        steps=steps,
        series=(
            Series("validation", "s2", validation, dots=True),
            Series("train", "s1", train),
            Series("base model", "text-3", tuple(base for _ in steps), dashed=True),
        ),
        low=min([0.0, *known]),
        high=max([1.0, *known]),
    )


def parts_chart(columns: Columns) -> Chart:
    """The means of the reward's parts, at most six of them, by name."""
    parts: dict[str, list[Value]] = columns["parts"] or columns["validation_parts"]
    shown = [(name, tuple(parts[name])) for name in sorted(parts)[:MOST_PARTS]]
    return Chart(
        key="parts",
        title="By grader part",
        question="Which part of the reward moves?",
        unit="reward",
        steps=tuple(columns["step"]),
        series=tuple(
            Series(name, f"s{at + 1}", values, dashed=_is_drawn(values, shown[:at]))
            for at, (name, values) in enumerate(shown)
        ),
    )


def _is_drawn(values: tuple[Value, ...], before: Sequence[tuple[str, tuple[Value, ...]]]) -> bool:
    """Whether an earlier line is the same: then this one is dashed, and both are seen."""
    return any(values == drawn for _, drawn in before)


def stops_chart(columns: Columns) -> Chart:
    """Why attempts ended, as shares; final answers at the bottom."""
    stops: dict[str, list[Value]] = columns["stops"]
    steps = tuple(columns["step"])

    def share(wanted: Callable[[str], bool]) -> tuple[Value, ...]:
        columns_of = [column for stop, column in stops.items() if wanted(stop)]
        return tuple(sum(column[at] or 0.0 for column in columns_of) for at in range(len(steps)))

    return Chart(
        key="stops",
        title="Why attempts ended",
        question="Does it answer, or hit a limit?",
        kind="stack",
        unit="share",
        steps=steps,
        series=(
            Series("final answer", "s1", share("final_answer".__eq__)),
            Series("a limit", "s2", share(lambda stop: stop not in OWN_LAYER)),
            Series("loop (tokens)", "s4", share("token_loop".__eq__)),
            Series("loop (tools)", "s5", share("tool_loop".__eq__)),
            Series("fault", "bad", share(FAULT_STOPS.__contains__)),
        ),
        high=1.0,
    )


def seconds_chart(columns: Columns) -> Chart:
    """Where the time of a step went."""
    steps = tuple(columns["step"])
    seconds: dict[str, list[Value]] = columns["seconds"]
    layers = (
        ("rollout", "s1"),
        ("grading", "s3"),
        ("learning", "s2"),
        ("evaluation", "s4"),
        ("checkpoint", "s5"),
    )
    return Chart(
        key="seconds",
        title="Step time",
        question="Where does the time go?",
        kind="stack",
        unit="seconds",
        steps=steps,
        series=tuple(
            Series(
                name, colour, tuple(value or 0.0 for value in seconds.get(name, [0.0] * len(steps)))
            )
            for name, colour in layers
        ),
    )


def after(chart: Chart, step: int) -> Chart:
    """The part of a chart that is newer than `step`."""
    first = next((i for i, number in enumerate(chart.steps) if number > step), len(chart.steps))
    return replace(
        chart,
        steps=chart.steps[first:],
        series=tuple(replace(line, values=line.values[first:]) for line in chart.series),
    )


def _plain(columns: Columns, chosen: _Lines) -> Chart:
    return Chart(
        key=chosen.key,
        title=chosen.title,
        question=chosen.question,
        unit=chosen.unit,
        steps=tuple(columns["step"]),
        series=tuple(
            Series(label, colour, tuple(_column(columns, name)), dots=dots)
            for label, colour, name, dots in chosen.lines
        ),
    )


def _column(columns: Columns, name: str) -> Sequence[Value]:
    values: Sequence[Value] = columns[name]
    return values


def _short(value: Value) -> Value:
    return None if value is None else float(f"{value:.6g}")
