"""The task behind a trajectory: one row of the dataset version that the job used."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from graders.models import GraderVersion
from hone.core.errors import UserError
from hone.datasets.models import DatasetVersion
from hone.datasets.selectors import dataset_rows
from jobs.models import Job, Trajectory

MOST_CHARACTERS = 4_000
OWN_PLACE = frozenset({"messages", "tools"})
"""Keys of a row that the page shows elsewhere."""


@dataclass(frozen=True)
class Task:
    """A row to read. `number` counts from 1, as people do; `text` is its other keys as JSON.
    Without a `dataset_id` it is of no dataset."""

    number: int
    dataset_id: str = ""
    version: int = 0
    messages: tuple[dict[str, str], ...] = ()
    text: str = ""
    left_out: int = 0
    missing: str = ""
    """Why the row cannot be read."""


def task(job: Job, trajectory: Trajectory) -> Task:
    """The row behind a trajectory, cut to what a page can show."""
    version = _version(job, trajectory)
    number = trajectory.row + 1
    try:
        item = task_item(job, trajectory)
    except UserError as error:
        return Task(number, missing=error.message)
    rest = {key: value for key, value in item.items() if key not in OWN_PLACE}
    text = json.dumps(rest, indent=2, ensure_ascii=False) if rest else ""
    return Task(
        number=number,
        dataset_id=version.dataset_id if version else "",
        version=version.number if version else 0,
        messages=_messages(item),
        text=text[:MOST_CHARACTERS],
        left_out=max(0, len(text) - MOST_CHARACTERS),
    )


def formula(version: GraderVersion | None) -> str:
    """How a multi grader makes one reward of its parts; empty for other kinds."""
    if version is None or version.spec.get("type") != "multi":
        return ""
    return str(version.spec.get("calculate_output", ""))


def task_item(job: Job, trajectory: Trajectory) -> dict[str, Any]:
    """The whole row; UserError where the file or the row is gone. A try keeps its own."""
    if job.is_tryout:
        kept: dict[str, Any] = job.tryout.item
        return kept
    version = _version(job, trajectory)
    if version is None:
        raise UserError(
            "The dataset version that this task came from was deleted, so its row cannot be read.",
            code="dataset_gone",
        )
    try:
        item: dict[str, Any] | None = next(iter(dataset_rows(version, trajectory.row, 1)), None)
    except (OSError, ValueError) as error:
        raise UserError(
            f"Row {trajectory.row + 1} of {version} cannot be read: {error}",
            code="dataset_unreadable",
        ) from error
    if item is None:
        raise UserError(f"{version} has no row {trajectory.row + 1}.", code="dataset_row")
    return item


def _version(job: Job, trajectory: Trajectory) -> DatasetVersion | None:
    return job.validation_version if trajectory.split == "validation" else job.train_version


def _messages(item: dict[str, Any]) -> tuple[dict[str, str], ...]:
    """The messages that the task gave, as role and text."""
    messages = item.get("messages")
    if not isinstance(messages, list):
        return ()
    return tuple(
        {"role": str(each.get("role", "")), "text": _text(each.get("content"))}
        for each in messages
        if isinstance(each, dict)
    )


def _text(content: Any) -> str:
    """The text of a message, be it one string or a list of parts."""
    if isinstance(content, list):
        parts = [part.get("text", "") for part in content if isinstance(part, dict)]
        return "\n".join(str(part) for part in parts)
    return "" if content is None else str(content)
