"""The rewards of what a filter leaves, in bins, and the means of groups."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from django.db.models import Avg, Count, Q

from jobs.models import Job, Trajectory
from jobs.selectors.trajectories import Filters, leading_run, newest_steps, trajectory_rows

EDGE = 1e-6
"""Rewards closer to 0 or 1 than this count as exactly that."""
MOST_COUNTED = 2_000
"""Trajectories that are counted where no step is chosen: those of the newest steps."""

GroupKey = tuple[int, str, str]


@dataclass(frozen=True)
class Bin:
    """How many trajectories have a reward in `low`..`high`; both None for the ungraded lane."""

    label: str
    low: float | None
    high: float | None
    n: int


@dataclass(frozen=True)
class Histogram:
    """`oldest`: the first step that was counted; 0 where all were. The range of rewards that is
    asked for chooses among the bins and so leaves nothing out of them; it does of the sums."""

    bins: tuple[Bin, ...]
    oldest: int
    total: int
    groups: int
    ungraded: int


_BINS: tuple[tuple[str, float, float], ...] = (
    ("below 0", -1e30, -EDGE),
    ("0", -EDGE, EDGE),
    ("to 0.2", EDGE, 0.2),
    ("to 0.4", 0.2 + EDGE, 0.4),
    ("to 0.6", 0.4 + EDGE, 0.6),
    ("to 0.8", 0.6 + EDGE, 0.8),
    ("to 1", 0.8 + EDGE, 1 - EDGE),
    ("1", 1 - EDGE, 1 + EDGE),
    ("above 1", 1 + EDGE, 1e30),
)
_NUMBERED = tuple(enumerate(_BINS))
_ONLY_IF_USED = frozenset({"below 0", "above 1"})


def reward_histogram(job: Job, filters: Filters) -> Histogram:
    """One pass over one step, or over the newest steps where none is chosen."""
    run_id = leading_run(job)
    is_lane = filters.flag == "ungraded"
    wide = replace(
        filters, reward_from=None, reward_to=None, sort="", flag="" if is_lane else filters.flag
    )
    rows = trajectory_rows(run_id, wide, one_by_one=True)
    oldest = 0
    if filters.step is None and not filters.group:
        oldest = newest_steps(job, MOST_COUNTED)
        rows = rows.filter(step__gte=oldest)
    chosen = Q(reward=None) if is_lane else _in_range(filters)
    found = rows.aggregate(
        **{f"upto{at}": Count("pk", filter=Q(reward__lte=top)) for at, (*_, top) in _NUMBERED},
        ungraded=Count("pk", filter=Q(reward=None)),
        total=Count("pk", filter=chosen),
        groups=Count("group", filter=chosen, distinct=True),
        lane=Count("pk", filter=chosen & Q(reward=None)),
    )
    counted = [found[f"upto{at}"] - (found[f"upto{at - 1}"] if at else 0) for at, _ in _NUMBERED]
    bins = tuple(
        Bin(label, low, high, n)
        for (label, low, high), n in zip(_BINS, counted, strict=True)
        if n or label not in _ONLY_IF_USED
    )
    lane = Bin("ungraded", None, None, found["ungraded"])
    return Histogram((*bins, lane), oldest, found["total"], found["groups"], found["lane"])


def _in_range(filters: Filters) -> Q:
    bounds = {"reward__gte": filters.reward_from, "reward__lte": filters.reward_to}
    given = {name: value for name, value in bounds.items() if value is not None}
    return Q(**given) if given else Q(pk__isnull=False)


def group_means(rows: Iterable[Trajectory]) -> dict[GroupKey, float | None]:
    """The mean reward of each group that a row belongs to, over its graded attempts."""
    listed = list(rows)
    if not listed:
        return {}
    found = (
        Trajectory.objects.filter(
            run_id__in={row.run_id for row in listed},
            step__in={row.step for row in listed},
            group__in={row.group for row in listed},
        )
        .values_list("step", "split", "group")
        .annotate(mean=Avg("reward"))
    )
    return {(step, split, group): mean for step, split, group, mean in found}
