"""Which charts a job has, made from the columns of `jobs.selectors.job_series`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from jobs.engine.types import FAULTS
from jobs.views.charts import Chart, Series, Value
from jobs.views.smoothing import smoothed

Columns = dict[str, Any]

MOST_LINES = 6
LEVEL = "text-3"
FAULT_STOPS = frozenset(str(stop) for stop in FAULTS)
OWN_LAYER = FAULT_STOPS | {"final_answer", "token_loop", "tool_loop"}
WIDE_SPREAD = 20
"""A chart of tails counts in powers of ten where its largest value is so many times its least."""


@dataclass(frozen=True)
class View:
    """What the address asks of the charts; `limits` are the job's, by chart."""

    half: float = 0
    log: bool | None = None
    base: Value = None
    origin: str = "base model"
    """What step 0 measured."""
    first: int | None = None
    last: int | None = None
    limits: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class _Line:
    """A line that is a plain column. `smooth`: its raw values go on under a smoothed line."""

    label: str
    colour: str
    column: str
    dots: bool = False
    dashed: bool = False
    smooth: bool = False


@dataclass(frozen=True)
class _Lines:
    """A chart whose lines are plain columns. `tail`: it may count in powers of ten by itself."""

    key: str
    title: str
    question: str
    unit: str
    lines: tuple[_Line, ...]
    tail: bool = False
    help: str = ""


_CALLS = _Lines(
    "calls",
    "Tool calls per trajectory",
    "How many calls does an attempt take?",
    "decimal",
    (
        _Line("p50", "s1", "tool_calls_p50"),
        _Line("mean", "s3", "tool_calls_mean", dashed=True),
        _Line("p95", "s2", "tool_calls_p95"),
        _Line("most", "s6", "tool_calls_max", dashed=True),
        _Line("validation p95", "s4", "validation_tool_calls_p95", dots=True),
    ),
    tail=True,
    help="p95: 95 of 100 attempts make at most so many calls. The mean alone hides the long ones.",
)
_TOKENS = _Lines(
    "tokens",
    "Tokens per trajectory",
    "How long does an attempt run on?",
    "count",
    (
        _Line("p50", "s1", "tokens_p50"),
        _Line("p95", "s2", "tokens_p95"),
        _Line("p99", "s3", "tokens_p99", dashed=True),
        _Line("validation p95", "s4", "validation_tokens_p95", dots=True),
    ),
    tail=True,
    help="Tokens that the model wrote in one attempt. p99: 99 of 100 attempts stay below.",
)
_LATENCY = _Lines(
    "latency",
    "Time of a tool call",
    "Do the tools answer fast enough?",
    "seconds",
    (
        _Line("p50", "s1", "tool_seconds_p50"),
        _Line("p95", "s2", "tool_seconds_p95"),
        _Line("p99", "s3", "tool_seconds_p99", dashed=True),
    ),
    tail=True,
)
_LOOPS = _Lines(
    "loops",
    "Loop rate",
    "How many attempts repeat themselves?",
    "share",
    (
        _Line("train", "s1", "loop_rate"),
        _Line("validation", "s2", "validation_loop_rate", dots=True),
    ),
    help="Share of attempts that were stopped as a loop, or made the same call with the same "
    "result three times or more.",
)
_ENTROPY = _Lines(
    "entropy",
    "Entropy per token",
    "Does the model still try different things?",
    "reward",
    (_Line("entropy", "s1", "entropy", smooth=True),),
    help="How undecided the model is at each token, in nats. Near 0 it always writes the same and "
    "has nothing left to try.",
)
_MISMATCH = _Lines(
    "mismatch",
    "Mismatch KL, sampler against trainer",
    "Do both give the same probabilities?",
    "small",
    (_Line("mismatch KL", "s1", "mismatch_kl", smooth=True),),
    tail=True,
    help="How far the program that samples and the one that trains differ about the same tokens "
    "(Kullback-Leibler divergence). Above 0.01 there is an alarm: then updates go astray.",
)
_RATE = _Lines(
    "rate",
    "Learning rate",
    "How large are the updates?",
    "small",
    (_Line("learning rate", "s1", "learning_rate"),),
)


def job_charts(columns: Columns, view: View | None = None) -> list[Chart]:
    """All charts of a job, in order of trust: reward, tails, health, time."""
    view = view or View()
    charts = [
        reward_chart(columns, view),
        parts_chart(columns),
        *(_plain(columns, each, view) for each in (_CALLS, _TOKENS, _LATENCY)),
        stops_chart(columns),
        _plain(columns, _LOOPS, view),
        silent_chart(columns),
        counts_chart(columns, "ungraded", "Ungraded attempts", "Why has an attempt no reward?"),
        counts_chart(columns, "errors", "Errors by tool", "Whose doing: the model's, the world's?"),
        *(_plain(columns, each, view) for each in (_ENTROPY, _MISMATCH, _RATE)),
        seconds_chart(columns),
    ]
    return [replace(chart, first=view.first, last=view.last) for chart in charts]


def reward_chart(columns: Columns, view: View | None = None) -> Chart:
    """Training, validation and held-out reward, and what step 0 measured as a level."""
    view = view or View()
    steps, validation = tuple(columns["step"]), tuple(columns["validation_reward"])
    base = view.base
    if base is None and steps and steps[0] == 0:
        base = validation[0]
    series = [
        replace(Series("validation", "s2", validation, dots=True), **_interval(columns)),
        _drawn(columns, _Line("train", "s1", "train_reward", smooth=True), view),
    ]
    held_out = tuple(columns.get("held_out") or ())
    if any(value is not None for value in held_out):
        series.append(Series("held-out grader", "s4", held_out, dots=True))
    series.append(Series(view.origin, LEVEL, tuple(base for _ in steps), dashed=True))
    edges = [each for line in series for each in (line.values, line.exact, line.low, line.high)]
    known = [value for values in edges for value in values if value is not None]
    return Chart(
        key="reward",
        title="Reward",
        question="Is it learning?",
        unit="reward",
        steps=steps,
        series=tuple(series),
        low=min([0.0, *known]),
        high=max([1.0, *known]),
        help="The grader's number, mostly from 0 to 1. Validation tasks are never trained on: "
        "believe their dots before the line of training. Whiskers: 95 % interval over the tasks.",
    )


def parts_chart(columns: Columns) -> Chart:
    """The means of the reward's parts, at most six of them, by name."""
    parts: dict[str, list[Value]] = columns["parts"] or columns["validation_parts"]
    shown = [(name, tuple(parts[name])) for name in sorted(parts)[:MOST_LINES]]
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


def silent_chart(columns: Columns) -> Chart:
    """The share of groups without different rewards, all solved and all failed apart."""

    def share(name: str) -> tuple[Value, ...]:
        pairs = zip(columns[name], columns["groups_total"], strict=True)
        return tuple(None if n is None or not total else n / total for n, total in pairs)

    return Chart(
        key="silent",
        title="Groups without a signal",
        question="Are the tasks too easy or too hard?",
        kind="stack",
        unit="share",
        steps=tuple(columns["step"]),
        series=(
            Series("all solved", "s3", share("groups_all_solved")),
            Series("all failed", "s2", share("groups_all_failed")),
        ),
        high=1.0,
        help="A group is the attempts at one task in one step. Where all of them earn the same "
        "(zero variance), there is nothing to compare, and the group teaches nothing.",
    )


def counts_chart(columns: Columns, key: str, title: str, question: str) -> Chart:
    """Attempts a step by what they were lost to, or calls by tool and whose error it was."""
    if key == "ungraded":
        named = sorted((columns.get("ungraded_causes") or {}).items())
        if not named and any(columns["ungraded"]):
            named = [("ungraded", columns["ungraded"])]
    else:
        errors, faults = columns.get("errors") or {}, columns.get("faults") or {}
        named = [(f"{tool}: tool errors", values) for tool, values in sorted(errors.items())]
        named += [(f"{tool}: tool faults", values) for tool, values in sorted(faults.items())]
    some = [(name, values) for name, values in named if any(values)]
    some.sort(key=lambda pair: -sum(value or 0.0 for value in pair[1]))
    return Chart(
        key=key,
        title=title,
        question=question,
        kind="stack",
        unit="count" if columns.get("size", 1) == 1 else "decimal",
        steps=tuple(columns["step"]),
        series=tuple(
            Series(name, f"s{at + 1}", tuple(values))
            for at, (name, values) in enumerate(some[:MOST_LINES])
        ),
        help=_UNGRADED_HELP if key == "ungraded" else _ERRORS_HELP,
    )


_UNGRADED_HELP = (
    "No reward could be given, for a fault of a tool, a grader or the time limit. Such attempts "
    "are in no mean and train nothing; they are never counted as 0."
)
_ERRORS_HELP = (
    "A tool error is the model's doing: it is shown to it and trains. A tool fault is the world's "
    "doing (no answer, 5xx): the attempt ends ungraded."
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


def _plain(columns: Columns, chosen: _Lines, view: View) -> Chart:
    steps = tuple(columns["step"])
    series = [_drawn(columns, line, view) for line in chosen.lines]
    series = [line for line in series if any(value is not None for value in line.values)]
    limit = view.limits.get(chosen.key)
    known = [value for line in series for value in (*line.values, *line.high) if value is not None]
    if limit is not None and known:
        level = tuple(float(limit) for _ in steps)
        series.append(Series(f"limit {limit}", LEVEL, level, dashed=True))
    log = is_log(known, view.log if chosen.tail else False)
    return Chart(
        key=chosen.key,
        title=f"{chosen.title} (log axis)" if log else chosen.title,
        question=chosen.question,
        unit=chosen.unit,
        steps=steps,
        series=tuple(series),
        low=None if log else 0.0,
        log=log,
        help=chosen.help,
    )


def is_log(values: Sequence[float], asked: bool | None) -> bool:
    """As asked, else where the values spread widely; never where one is not above zero."""
    if asked is False or not values or min(values) <= 0:
        return False
    return bool(asked) or max(values) > WIDE_SPREAD * min(values)


def _drawn(columns: Columns, line: _Line, view: View) -> Series:
    values: tuple[Value, ...] = tuple(columns.get(line.column) or [None] * len(columns["step"]))
    low, high = (columns.get("bands") or {}).get(line.column, ((), ()))
    series = Series(
        line.label,
        line.colour,
        values,
        dots=line.dots,
        dashed=line.dashed,
        low=() if line.dots else tuple(low),
        high=() if line.dots else tuple(high),
    )
    if not line.smooth or not view.half:
        return series
    return replace(series, values=smoothed(columns["step"], values, view.half), raw=values)


def _interval(columns: Columns) -> dict[str, Any]:
    low, high = columns.get("validation_low") or [], columns.get("validation_high") or []
    known = any(value is not None for value in low)
    return {"low": tuple(low), "high": tuple(high)} if known else {}
