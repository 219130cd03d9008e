"""What each validation task got at a step, and its attempts there. No body is opened."""

from __future__ import annotations

from collections.abc import Sequence

from django.db.models import Avg, Count, Q, QuerySet

from jobs.models import Trajectory
from jobs.selectors.compare.paired import TaskResult
from jobs.selectors.compare.sides import Side

Results = dict[int, TaskResult]


def results(places: Sequence[tuple[str, int]]) -> dict[tuple[str, int], Results]:
    """By run and step: the tasks of its evaluation, one row of the database each."""
    wanted = Q(pk=None)
    for run_id, step in set(places):
        wanted |= Q(run_id=run_id, step=step)
    rows = (
        Trajectory.objects.filter(wanted, split="validation")
        .values("run_id", "step", "row")
        .order_by("run_id", "step", "row")
        # First the counts: a later `reward` is the mean, which cannot be counted.
        .annotate(n=Count("pk"), graded=Count("reward"))
        .annotate(
            reward=Avg("reward"),
            calls=Avg("tool_calls"),
            tokens=Avg("tokens"),
            seconds=Avg("seconds"),
        )
    )
    found: dict[tuple[str, int], Results] = {place: {} for place in places}
    for row in rows:
        found[row["run_id"], row["step"]][row["row"]] = TaskResult(
            row=row["row"],
            reward=row["reward"],
            calls=float(row["calls"]),
            tokens=float(row["tokens"]),
            seconds=float(row["seconds"]),
            attempts=row["n"],
            graded=row["graded"],
        )
    return found


def attempts(side: Side, row: int) -> QuerySet[Trajectory]:
    """The attempts of a side at one validation task, as they were sampled."""
    rows = Trajectory.objects.filter(run_id=side.run_id, split="validation", row=row)
    at = rows.none() if side.focus is None else rows.filter(step=side.focus)
    return at.select_related("run").order_by("sample", "pk")
