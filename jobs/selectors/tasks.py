"""The task behind a trajectory: one row of the dataset version that the job used."""

from __future__ import annotations

from typing import Any

from hone.core.errors import UserError
from hone.datasets.selectors import dataset_rows
from jobs.models import Job, Trajectory


def task_item(job: Job, trajectory: Trajectory) -> dict[str, Any]:
    """The whole row; UserError where the file or the row is gone."""
    trained = trajectory.split == "train"
    version = job.train_version if trained else job.validation_version
    if version is None:
        raise UserError(
            "The dataset version that this task came from was deleted, so its row cannot be read.",
            code="dataset_gone",
        )
    try:
        item: dict[str, Any] | None = next(iter(dataset_rows(version, trajectory.row, 1)), None)
    except (OSError, ValueError) as error:
        raise UserError(
            f"Row {trajectory.row} of {version} cannot be read: {error}", code="dataset_unreadable"
        ) from error
    if item is None:
        raise UserError(f"{version} has no row {trajectory.row}.", code="dataset_row")
    return item


def task_messages(job: Job, trajectory: Trajectory) -> list[dict[str, str]]:
    """The messages that the task gave, as role and text; empty where the row is gone."""
    try:
        messages = task_item(job, trajectory).get("messages")
    except UserError:
        return []
    if not isinstance(messages, list):
        return []
    return [
        {"role": str(each.get("role", "")), "text": _text(each.get("content"))}
        for each in messages
        if isinstance(each, dict)
    ]


def _text(content: Any) -> str:
    """The text of a message, be it one string or a list of parts."""
    if isinstance(content, list):
        parts = [part.get("text", "") for part in content if isinstance(part, dict)]
        return "\n".join(str(part) for part in parts)
    return "" if content is None else str(content)
