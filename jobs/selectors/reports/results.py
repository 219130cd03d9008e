"""The result file of a job: the columns of contract section 9.2, from the stored metrics.

A figure that Hone does not have is an empty cell; `docs/user.md` says which, and what stands for
what. Nothing is made up to fill a column.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from jobs.engine.metrics import UNKNOWN_TOOL
from jobs.models import Job
from jobs.selectors.browse import job_steps

Metrics = Mapping[str, Any]
Cell = float | int | None
AT_ONCE = 500


@dataclass(frozen=True)
class Column:
    """A column's name, and how its cell is read from a step's metrics."""

    name: str
    read: Callable[[Metrics], Cell]


def result_columns(job: Job) -> list[Column]:
    """The columns after `step`: the contract's own, each grader's, each tool's."""
    return [*_PLAIN, *_grader_columns(job), *_tool_columns(job)]


def result_rows(job: Job, columns: list[Column]) -> Iterator[list[Cell]]:
    """One row a committed step, read some hundred at a time."""
    for step in job_steps(job).iterator(chunk_size=AT_ONCE):
        yield [step.step, *(column.read(step.metrics) for column in columns)]


def _figure(group: str, key: str) -> Callable[[Metrics], Cell]:
    def read(metrics: Metrics) -> Cell:
        return _number((metrics.get(group) or {}).get(key))

    return read


def _number(value: Any) -> Cell:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _unknown(metrics: Metrics) -> Cell:
    return None


def _unresponsive(metrics: Metrics) -> Cell:
    """The share of training attempts that have no reward."""
    train = metrics.get("train") or {}
    ungraded, n = _number(train.get("ungraded")), _number(train.get("n"))
    return ungraded / n if ungraded is not None and n else None


_PLAIN = (
    Column("train_mean_reward", _figure("train", "reward_mean")),
    Column("full_valid_mean_reward", _figure("validation", "reward_mean")),
    Column("completion_tokens_mean", _figure("train", "tokens_mean")),
    Column("reasoning_tokens_mean", _unknown),
    Column("mean_unresponsive_rewards", _unresponsive),
    Column("sampling_duration", _figure("seconds", "rollout")),
    Column("training_duration", _figure("seconds", "learning")),
    Column("eval_duration", _figure("seconds", "evaluation")),
    Column("total_duration", _figure("seconds", "total")),
)


def _grader_columns(job: Job) -> list[Column]:
    return [
        Column(f"scores/graders/{kind}/{name}/{prefix}_reward_mean", read)
        for name, kind in _graders(job).items()
        for prefix, group in (("train", "train"), ("valid", "validation"))
        for read in (_score(group, name),)
    ]


def _score(group: str, name: str) -> Callable[[Metrics], Cell]:
    """A part's mean; of a grader without parts the reward itself."""

    def read(metrics: Metrics) -> Cell:
        stats = metrics.get(group) or {}
        parts = stats.get("parts") or {}
        return _number(parts.get(name)) if parts else _number(stats.get("reward_mean"))

    return read


def _graders(job: Job) -> dict[str, str]:
    """Names and kinds: of the grader's children where it has some, of the grader itself else.

    Parts that only the metrics know, as those of a grader that was deleted, come after.
    """
    spec: dict[str, Any] = job.grader_version.spec if job.grader_version else {}
    kind = str(spec.get("type", "unknown"))
    children = spec.get("graders") or {}
    named = (
        children.items()
        if isinstance(children, dict)
        else ((each.get("name", ""), each) for each in children)
    )
    found = {str(name): str(child.get("type", "unknown")) for name, child in named}
    parts = _parts_seen(job)
    for name in parts:
        found.setdefault(name, kind)
    return found or {str(spec.get("name") or "grader"): kind}


def _parts_seen(job: Job) -> list[str]:
    """The parts in the first and the last step; a job's grader does not change between them."""
    steps = job_steps(job)
    some = [steps.first(), steps.last()]
    stats = [
        step.metrics.get(group) or {}
        for step in some
        if step is not None
        for group in ("validation", "train")
    ]
    return sorted({name for each in stats for name in each.get("parts") or {}})


def _tool_columns(job: Job) -> list[Column]:
    names = [str(tool.get("name")) for tool in job.spec.get("tools") or []]
    return [Column(f"train_error_count_{name}", _errors(name)) for name in [*names, UNKNOWN_TOOL]]


def _errors(tool: str) -> Callable[[Metrics], Cell]:
    """Calls that were answered with an error or could not be read; 0 where none was made."""

    def read(metrics: Metrics) -> Cell:
        tools = (metrics.get("train") or {}).get("tools")
        return None if tools is None else _number((tools.get(tool) or {}).get("errors", 0))

    return read
