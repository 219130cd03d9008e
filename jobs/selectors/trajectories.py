"""The trajectories of a job, filtered, in any order, a page at a time by keyset.

A million rows are the measure. Each order has an index to walk, words and labels have one to be
found in. A filter that leaves few rows is answered from these. One that leaves many, or that no
index knows (the parts of a reward), is answered window by window, newest steps first: what it
leaves may all be old, and the walk to it would be as long as the job.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.db.models import BooleanField, Q, QuerySet
from django.db.models.expressions import RawSQL
from django.db.models.fields.json import KeyTransform

from jobs.models import Job, Trajectory
from jobs.models.job import MOST_NEWEST
from jobs.selectors.fulltext import about, with_labels, with_words

PAGE = 50
MOST_LOOKED_THROUGH = 15_000
"""Rows that one page reads where it goes window by window."""
FEW = 5_000
"""Rows that are sorted as they are, in any order."""
MANY = 4 * FEW
"""Expected rows that need not be counted to know that they are not few."""
ORDERS: dict[str, tuple[str, ...]] = {
    "": ("-step", "pk"),
    "reward": ("reward", "pk"),
    "-reward": ("-reward", "-pk"),
    "tokens": ("tokens", "pk"),
    "-tokens": ("-tokens", "-pk"),
    "calls": ("tool_calls", "pk"),
    "-calls": ("-tool_calls", "-pk"),
}
"""By the name of the order; the nameless one keeps siblings together, newest step first."""


@dataclass(frozen=True)
class Filters:
    """What the trajectory list shows; empty and None leave out nothing."""

    step: int | None = None
    split: str = ""
    stop: str = ""
    flag: str = ""
    tool: str = ""
    row: int | None = None
    group: str = ""
    reward_from: float | None = None
    reward_to: float | None = None
    part: str = ""
    part_from: float | None = None
    part_to: float | None = None
    text: str = ""
    sort: str = ""

    @property
    def is_scoped(self) -> bool:
        """Whether one step, one group or one task bounds the rows."""
        return self.step is not None or bool(self.group) or self.row is not None

    @property
    def is_selective(self) -> bool:
        """Whether it may leave rows that lie far apart in the order."""
        is_ranged = self.reward_from is not None or self.reward_to is not None
        in_range = is_ranged and not self.sort.endswith("reward")
        ungraded = self.flag == "ungraded" and bool(self.sort)
        labelled = bool(self.stop or self.tool or (self.flag and self.flag != "ungraded"))
        return bool(in_range or ungraded or labelled or self.text or self.part)


@dataclass(frozen=True)
class Page:
    """One page of trajectories in order; `before` and `after` are ids for the neighbour pages.

    `looked_back_to`: the oldest step of the window where not all steps were looked through; the
    next window is the same filter with `until` below it. `found`: how many there are in all, where
    they are few and were counted.
    """

    rows: Sequence[Trajectory]
    before: int | None
    after: int | None
    looked_back_to: int | None = None
    found: int | None = None


def leading_run(job: Job) -> str:
    """The id of the run whose trajectories are the job's."""
    return job.leading_run_id


def trajectory_list(
    job: Job,
    filters: Filters,
    *,
    after: int | None = None,
    before: int | None = None,
    until: int | None = None,
    limit: int = PAGE,
) -> Page:
    """A page of trajectories after or before one of them.

    `until`: the newest step of the window to look through.
    """
    run_id = leading_run(job)
    rows, back, count = _narrowed(job, filters, until)
    order = ORDERS[filters.sort]
    if not filters.text:
        rows = rows.defer("excerpt")
    edge_id = before if before is not None else after
    edge = Trajectory.objects.filter(run_id=run_id, pk=edge_id).first() if edge_id else None
    if edge_id is not None and edge is None:
        return Page([], None, None, back, count)
    if before is not None and edge is not None:
        backwards = tuple(_turned(column) for column in order)
        found = list(rows.filter(_beyond(edge, backwards)).order_by(*backwards)[: limit + 1])
        more, shown = len(found) > limit, found[:limit][::-1]
        return Page(shown, shown[0].pk if more and shown else None, _last(shown), back, count)
    if edge is not None:
        rows = rows.filter(_beyond(edge, order))
    found = list(rows.order_by(*order)[: limit + 1])
    shown = found[:limit]
    first = shown[0].pk if after is not None and shown else None
    return Page(shown, first, _last(shown) if len(found) > limit else None, back, count)


def _narrowed(
    job: Job, filters: Filters, until: int | None
) -> tuple[QuerySet[Trajectory], int | None, int | None]:
    """Rows that can be put in any order, the oldest step of their window, how many there are."""
    run_id = leading_run(job)
    rows = trajectory_rows(run_id, filters)
    if filters.is_scoped or not filters.is_selective:
        return rows, None, None
    oldest = _window(job, until, MOST_LOOKED_THROUGH)
    window = trajectory_rows(run_id, filters, one_by_one=True).filter(step__gte=oldest)
    if until is not None:
        window = window.filter(step__lte=until)
    if not filters.part and not _are_surely_many(rows, window):
        ids = list(rows.values_list("pk", flat=True)[: FEW + 1])
        if len(ids) <= FEW:
            return Trajectory.objects.filter(pk__in=ids), None, len(ids)
    return window, oldest or None, None


def _are_surely_many(rows: QuerySet[Trajectory], window: QuerySet[Trajectory]) -> bool:
    """Whether that is known without counting: statistics may err, so the window must be full."""
    return about(rows) >= MANY and len(window.values_list("pk", flat=True)[:PAGE]) == PAGE


def trajectory_rows(
    run_id: str, filters: Filters, *, one_by_one: bool = False
) -> QuerySet[Trajectory]:
    """The trajectories that the filters leave, in no order. An order by reward has the graded.

    `one_by_one`: the caller narrows them to a few steps, and each of these rows is looked at.
    """
    exact = {
        "step": filters.step,
        "split": filters.split or None,
        "row": filters.row,
        "group": filters.group or None,
        "reward__gte": filters.reward_from,
        "reward__lte": filters.reward_to,
        "reward__isnull": False if filters.sort.endswith("reward") else None,
    }
    if filters.flag == "ungraded":
        exact["reward__isnull"] = True
    rows = Trajectory.objects.filter(
        run_id=run_id, **{name: value for name, value in exact.items() if value is not None}
    )
    flag = "" if filters.flag == "ungraded" else filters.flag
    labels = {"flag": flag, "tool": filters.tool, "stop": filters.stop}
    rows = with_labels(rows, **labels, one_by_one=one_by_one)
    if filters.part:
        rows = _with_part(rows, filters)
    return with_words(rows, filters.text, one_by_one=one_by_one) if filters.text else rows


def newest_steps(job: Job, most: int) -> int:
    """The oldest step so that no more than `most` trajectories are as new, at least one step's."""
    return _window(job, None, most)


def _window(job: Job, until: int | None, most: int) -> int:
    made_by_step = job.newest_rollouts if until is None else job.rollouts_until(until)
    seen, oldest = 0, None
    for step, made in made_by_step:
        seen += made
        if seen > most and oldest is not None:
            return oldest
        oldest = step
    return oldest if oldest is not None and len(made_by_step) == MOST_NEWEST else 0


def _with_part(rows: QuerySet[Trajectory], filters: Filters) -> QuerySet[Trajectory]:
    rows = rows.annotate(part=KeyTransform(filters.part, "parts"))
    bounds = {"part__gte": filters.part_from, "part__lte": filters.part_to}
    given = {name: value for name, value in bounds.items() if value is not None}
    return rows.filter(**given) if given else rows.filter(parts__has_key=filters.part)


def _turned(column: str) -> str:
    return column.removeprefix("-") if column.startswith("-") else f"-{column}"


def _beyond(edge: Trajectory, order: tuple[str, ...]) -> Q | RawSQL:
    """What comes after `edge` in an order of two columns.

    Two columns of one direction compare as a pair, which an index answers however many rows are
    equal in the first. A step is small, so there it is enough to begin at the step.
    """
    first, second = order
    column, falls = first.removeprefix("-"), first.startswith("-")
    value = getattr(edge, column)
    if falls == second.startswith("-"):
        table = '"jobs_trajectory"'
        pair = f'({table}."{column}", {table}."id") {"<" if falls else ">"} (%s, %s)'
        return RawSQL(pair, [value, edge.pk], output_field=BooleanField())
    past, at_least = ("lt", "lte") if falls else ("gt", "gte")
    later = "gt" if falls else "lt"
    return Q((f"{column}__{at_least}", value)) & (
        Q((f"{column}__{past}", value)) | Q((f"pk__{later}", edge.pk))
    )


def _last(rows: list[Trajectory]) -> int | None:
    return rows[-1].pk if rows else None
