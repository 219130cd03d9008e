"""What the attempts of a preflight were like, in plain numbers. Pure: attempts in, figures out."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import sqrt
from statistics import mean, pstdev

PASS_LINE = 0.5
"""The reward from which an attempt counts as a pass, where the grader names no threshold."""
SPREAD_MIN = 1e-6
"""Rewards closer together than this are the same reward, as in training."""
Z_95 = 1.959964
CUT_OFF = frozenset(
    {"turn_limit", "call_limit", "turn_token_limit", "token_limit", "context_limit"}
)
TOKEN_LIMITS = frozenset({"turn_token_limit", "token_limit", "context_limit"})


@dataclass(frozen=True)
class Attempt:
    """One try at one task. `reward` None: ungraded, for `cause`."""

    row: int
    reward: float | None
    stop: str = "final_answer"
    flags: frozenset[str] = frozenset()
    tokens: int = 0
    total_tokens: int = 0
    seconds: float = 0.0
    cause: str = ""


@dataclass(frozen=True)
class Share:
    """`count` of `n` with its Wilson 95 % interval; all of 0 to 1 where there is nothing."""

    count: int
    n: int

    @property
    def value(self) -> float | None:
        return self.count / self.n if self.n else None

    @property
    def interval(self) -> tuple[float, float]:
        return wilson(self.count, self.n)

    @property
    def low(self) -> float:
        return self.interval[0]

    @property
    def high(self) -> float:
        return self.interval[1]

    def __str__(self) -> str:
        return f"{self.count} of {self.n}"


def wilson(count: int, n: int) -> tuple[float, float]:
    """The 95 % interval of a share."""
    if not n:
        return 0.0, 1.0
    share, square = count / n, Z_95**2
    middle = (share + square / (2 * n)) / (1 + square / n)
    half = Z_95 / (1 + square / n) * sqrt(share * (1 - share) / n + square / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)


@dataclass(frozen=True)
class TaskFigures:
    """The attempts at one task; rewards are those of the graded ones."""

    row: int
    attempts: int
    rewards: tuple[float, ...]
    passes: int

    @property
    def graded(self) -> int:
        return len(self.rewards)

    @property
    def pass_rate(self) -> float | None:
        return self.passes / self.graded if self.graded else None

    @property
    def mean(self) -> float | None:
        return mean(self.rewards) if self.rewards else None

    @property
    def best(self) -> float | None:
        return max(self.rewards, default=None)

    @property
    def spread(self) -> float | None:
        """Standard deviation of the rewards."""
        return pstdev(self.rewards) if self.rewards else None

    @property
    def is_known(self) -> bool:
        """Two graded attempts can differ; one cannot."""
        return self.graded >= 2

    @property
    def has_signal(self) -> bool:
        return self.is_known and max(self.rewards) - min(self.rewards) > SPREAD_MIN

    @property
    def teaches_nothing(self) -> bool:
        return self.is_known and not self.has_signal

    @property
    def never_passes(self) -> bool:
        return self.is_known and self.passes == 0

    @property
    def always_passes(self) -> bool:
        return self.is_known and self.passes == self.graded and not self.has_signal


@dataclass(frozen=True)
class ToolFigures:
    """Calls of one tool: `errors` are answers that say so, `faults` are none at all."""

    name: str
    calls: int
    errors: int
    faults: int
    seconds_mean: float | None = None


@dataclass(frozen=True)
class Tail:
    """Percentiles of something over all attempts that no fault ended."""

    p50: float | None
    p95: float | None
    p99: float | None


@dataclass(frozen=True)
class Figures:
    """Everything that was measured. Shares of attempts are over all that were made."""

    attempts: int
    graded: int
    pass_line: float
    tasks: tuple[TaskFigures, ...]
    mean: float | None
    best_of: float | None
    """Mean over tasks of the best attempt."""
    spread: float | None
    """Mean over tasks of the standard deviation within one."""
    signal: Share
    never: Share
    always: Share
    passes: Share
    bad_calls: Share
    cut_off: Share
    out_of_tokens: Share
    looped: Share
    out_of_time: Share
    tool_faults: Share
    tool_errors: Share
    """Attempts in which a tool answered with an error."""
    grader_errors: Share
    grader_causes: tuple[tuple[str, int], ...]
    """Why attempts have no reward though no tool and no clock ended them, most frequent first."""
    tool_causes: tuple[tuple[str, int], ...]
    tools: tuple[ToolFigures, ...]
    tokens: Tail
    seconds: Tail
    total_tokens_mean: float | None
    passing_tokens: int
    """Tokens of all attempts that pass, prompts and tool results included."""
    rewards: tuple[float, ...] = field(repr=False, default=())

    @property
    def all_equal(self) -> bool:
        """Every graded attempt has the same reward."""
        rewards = self.rewards
        return len(rewards) >= 2 and max(rewards) - min(rewards) <= SPREAD_MIN


def signal_by_size(
    tasks: Iterable[TaskFigures], sizes: Sequence[int] = (4, 8, 16)
) -> tuple[tuple[int, float, bool], ...]:
    """The share of tasks with signal that groups of other sizes would have, and whether a size is
    above what was tried: for rewards of 0 and 1 from the task's chance of a 1, drawn towards a half
    by half an attempt each way; for others by drawing again from the rewards that were seen."""
    known = [task for task in tasks if task.is_known]
    most = max((task.attempts for task in known), default=0)
    return tuple(
        (size, mean(_differ(task, size) for task in known), size > most) for size in sizes if known
    )


def _differ(task: TaskFigures, size: int) -> float:
    """The chance that `size` attempts do not all have the same reward."""
    counts = Counter(task.rewards)
    if counts.keys() <= {0.0, 1.0}:
        ones = (counts[1.0] + 0.5) / (task.graded + 1)
        return 1 - ones**size - (1 - ones) ** size
    return 1 - sum((n / task.graded) ** size for n in counts.values())


def percentile(values: Sequence[float], percent: float) -> float | None:
    """Linear between the two nearest ranks."""
    if not values:
        return None
    ordered = sorted(values)
    place = (len(ordered) - 1) * percent / 100
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def figures_of(
    attempts: Iterable[Attempt],
    *,
    pass_line: float = PASS_LINE,
    tools: Iterable[Mapping[str, Mapping[str, float | None]]] = (),
) -> Figures:
    """`tools`: what each slice told of the calls of each tool."""
    made = list(attempts)
    tasks = _tasks(made, pass_line)
    known = [task for task in tasks if task.is_known]
    rewards = tuple(reward for task in tasks for reward in task.rewards)
    whole = [each for each in made if each.stop not in {"tool_fault", "grader_fault", "time_limit"}]
    lost = [each for each in made if each.stop == "tool_fault"]
    ungraded = [
        each
        for each in made
        if each.reward is None and each.stop not in {"tool_fault", "time_limit"}
    ]
    passing = [each for each in made if each.reward is not None and each.reward >= pass_line]

    def share(chosen: Iterable[bool]) -> Share:
        return Share(sum(chosen), len(made))

    return Figures(
        attempts=len(made),
        graded=len(rewards),
        pass_line=pass_line,
        tasks=tasks,
        mean=mean(rewards) if rewards else None,
        best_of=_mean(task.best for task in tasks),
        spread=_mean(task.spread for task in known),
        signal=Share(sum(task.has_signal for task in known), len(known)),
        never=Share(sum(task.never_passes for task in known), len(known)),
        always=Share(sum(task.always_passes for task in known), len(known)),
        passes=Share(len(passing), len(rewards)),
        bad_calls=share("malformed_call" in each.flags for each in made),
        cut_off=share(each.stop in CUT_OFF for each in made),
        out_of_tokens=share(each.stop in TOKEN_LIMITS for each in made),
        looped=share("looped" in each.flags for each in made),
        out_of_time=share(each.stop == "time_limit" for each in made),
        tool_faults=Share(len(lost), len(made)),
        tool_errors=share("tool_error" in each.flags for each in made),
        grader_errors=Share(len(ungraded), len(made)),
        grader_causes=_causes(ungraded),
        tool_causes=_causes(lost),
        tools=_by_tool(tools),
        tokens=_tail([float(each.tokens) for each in whole]),
        seconds=_tail([each.seconds for each in whole]),
        total_tokens_mean=_mean(float(each.total_tokens) for each in whole),
        passing_tokens=sum(each.total_tokens for each in passing),
        rewards=rewards,
    )


def _tasks(made: Iterable[Attempt], pass_line: float) -> tuple[TaskFigures, ...]:
    by_row: dict[int, list[Attempt]] = defaultdict(list)
    for attempt in made:
        by_row[attempt.row].append(attempt)
    return tuple(_task(row, own, pass_line) for row, own in sorted(by_row.items()))


def _task(row: int, own: Sequence[Attempt], pass_line: float) -> TaskFigures:
    rewards = tuple(each.reward for each in own if each.reward is not None)
    passes = sum(reward >= pass_line for reward in rewards)
    return TaskFigures(row, len(own), rewards, passes)


def _causes(lost: Iterable[Attempt]) -> tuple[tuple[str, int], ...]:
    return tuple(Counter(each.cause or "no cause given" for each in lost).most_common())


def _by_tool(
    slices: Iterable[Mapping[str, Mapping[str, float | None]]],
) -> tuple[ToolFigures, ...]:
    found: dict[str, list[Mapping[str, float | None]]] = defaultdict(list)
    for part in slices:
        for name, counts in part.items():
            found[name].append(counts)
    return tuple(_tool(name, parts) for name, parts in sorted(found.items()))


def _tool(name: str, parts: Sequence[Mapping[str, float | None]]) -> ToolFigures:
    calls, errors, faults = (
        round(sum(part.get(key) or 0 for part in parts)) for key in ("calls", "errors", "faults")
    )
    timed = [(part.get("seconds_mean"), part.get("calls") or 0) for part in parts]
    known = [(seconds, n) for seconds, n in timed if seconds is not None and n]
    total = sum(n for _, n in known)
    seconds_mean = sum(seconds * n for seconds, n in known) / total if total else None
    return ToolFigures(name, calls, errors, faults, seconds_mean)


def _tail(values: Sequence[float]) -> Tail:
    return Tail(*(percentile(values, percent) for percent in (50, 95, 99)))


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return mean(known) if known else None
