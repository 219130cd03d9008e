"""The tool traffic of a job, kept as a recording that can answer for the tools."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hone.accounts.models import User
from hone.core.errors import UserError
from hone.core.net.recorded import Entry, canonical, row_hash
from hone.tools.models import Recording
from hone.tools.services import recording_add
from jobs.models import Job, Trajectory
from jobs.selectors import access_job, trajectory_body
from jobs.selectors.tasks import task_item

MOST_TRAJECTORIES = 1_000
"""The newest of a job; their bodies are read one by one while a person waits."""
MOST_HELD = 64 * 1024 * 1024
"""Characters of calls and outputs that are taken, the newest first: a web thread holds them."""


def recording_from_job(*, acting_user: User, job: Job, name: str) -> Recording:
    """Add the answered calls of the newest trajectories to the recording of this name."""
    job = access_job(acting_user, job.pk, need="write")
    rows = Trajectory.objects.filter(run__job=job, tool_calls__gt=0).select_related("run")
    entries = list(_entries(job, rows.order_by("-pk")[:MOST_TRAJECTORIES]))
    if not entries:
        raise UserError(
            "No trajectory of this job has an answered tool call, so there is nothing to record.",
            code="nothing_to_record",
        )
    return recording_add(
        acting_user=acting_user,
        organisation=job.organisation,
        name=name,
        source=f"Job {job.name} ({job.pk})",
        entries=entries,
    )


def _entries(job: Job, rows: Any) -> Iterator[Entry]:
    hashes: dict[tuple[str, int], str] = {}
    held = 0
    for row in rows:
        place = (row.split, row.row)
        if place not in hashes:
            hashes[place] = row_hash(task_item(job, row))
        for call in trajectory_body(row).calls:
            if call.status == "ok" or call.status == "tool_error":
                held += len(call.arguments) + len(call.output or "")
                if held > MOST_HELD:
                    return
                yield Entry(
                    tool=call.name,
                    arguments=canonical(call.arguments),
                    row=hashes[place],
                    status=call.status,
                    output=call.output or "",
                    http_status=call.http_status,
                    error=call.error,
                )
