"""What the scores of a comparison say: figures of both sides, steps, steadiness, forgeries, people.

Reads the rows of one comparison, at most some thousands, and does the rest in memory.
"""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from django.db.models import QuerySet

from jobs.models import ComparedScore, Comparison, Trajectory
from jobs.workbench.measures import (
    Estimate,
    mean_of,
    paired_difference,
    quantile,
    share_of,
    spearman,
    spread,
)
from jobs.workbench.mutations import LOW, WORDS
from jobs.workbench.plan import AGAIN, AS_IS
from jobs.workbench.selectors import DISAGREE, mean_marks, scores

STEADY = 1e-9
FEW_MARKS = 30
SHOWN = 10
BINS = 20
Scores = Sequence[float]


@dataclass(frozen=True)
class Problem:
    """Samples that one side left ungraded for the same code; `example` is one message."""

    code: str
    n: int
    example: str


@dataclass(frozen=True)
class SideFigures:
    """One side over the samples as they are."""

    letter: str
    label: str
    scores: tuple[float, ...]
    mean: Estimate | None
    median: float | None
    ungraded: int
    seconds_p50: float | None
    seconds_p95: float | None
    seconds_total: float
    tokens: int
    """Of judges, as the gradings tell them."""
    problems: list[Problem]


@dataclass(frozen=True)
class StepFigures:
    """Both means of one step, over the trajectories that both graded."""

    step: int
    n: int
    a: float
    b: float


@dataclass(frozen=True)
class Ranks:
    """How the order within groups of attempts at one task changes: what advantages come from."""

    pairs: int
    swapped: int
    groups: int
    another_best: int


@dataclass(frozen=True)
class Sample:
    """A trajectory with its repeated scores."""

    trajectory: Trajectory
    scores: tuple[float, ...]
    spread: float


@dataclass(frozen=True)
class Steadiness:
    """One side's scores of the same samples again."""

    label: str
    samples: int
    attempts: int
    identical: int
    worst: list[Sample]
    mean_spread: float
    ungraded: int

    @property
    def is_steady(self) -> bool:
        return self.identical == self.samples and not self.ungraded


@dataclass(frozen=True)
class Forged:
    """One changed sample; `fools_a` and `fools_b`: it gets what real answers get."""

    row: ComparedScore
    words: str
    fools_a: bool
    fools_b: bool


@dataclass(frozen=True)
class Change:
    """All samples of one change: how many fool each side, and the highest score each gave."""

    words: str
    n: int
    top_a: float | None
    top_b: float | None
    fools_a: int
    fools_b: int


@dataclass(frozen=True)
class Forgeries:
    """Changed samples by change, and those that fool a side, the highest first."""

    n: int
    median_a: float | None
    median_b: float | None
    changes: list[Change]
    fooling: list[Forged]
    fools_a: int
    fools_b: int


@dataclass(frozen=True)
class Agreement:
    """One side against the people's mean marks."""

    label: str
    ranks: Estimate | None
    error: float | None
    n: int


@dataclass(frozen=True)
class People:
    """What marks say of both sides. `closer`: of `decided` disagreements with a mark, B's."""

    marked: int
    sides: list[Agreement]
    decided: int
    closer: int


@dataclass(frozen=True)
class Findings:
    """Everything that the page of a comparison shows above its table."""

    a: SideFigures
    b: SideFigures
    both: int
    disagree: int
    disagree_share: Estimate | None
    difference: Estimate | None
    ranks: Estimate | None
    steps: list[StepFigures]
    groups: Ranks
    steady: list[Steadiness]
    forgeries: Forgeries | None
    people: People


def findings(comparison: Comparison) -> Findings:
    """All of it; works while the comparison is still running."""
    rows = list(_as_is(comparison))
    tried = list(scores(comparison, AGAIN, *WORDS).select_related("trajectory").order_by("pk"))
    again = [row for row in tried if row.case == AGAIN]
    changed = [row for row in tried if row.case != AGAIN]
    both = [(row, row.a, row.b) for row in rows if row.a is not None and row.b is not None]
    first, second = [a for _, a, _ in both], [b for _, _, b in both]
    a = _side("A", comparison.label_a, [(row.a, row.detail_a) for row in rows])
    b = _side("B", comparison.label_b, [(row.b, row.detail_b) for row in rows])
    disagree = sum((row.gap or 0.0) > DISAGREE for row, _, _ in both)
    pairs = [(row.trajectory, a, b) for row, a, b in both]
    return Findings(
        a=a,
        b=b,
        both=len(both),
        disagree=disagree,
        disagree_share=share_of(disagree, len(both)),
        difference=paired_difference(first, second),
        ranks=spearman(first, second),
        steps=_steps(pairs),
        groups=_groups(pairs),
        steady=_steadiness(comparison, again),
        forgeries=_forgeries(comparison, changed, a.median, b.median),
        people=_people(comparison, rows),
    )


def _as_is(comparison: Comparison) -> QuerySet[ComparedScore]:
    """There may be thousands: of a trajectory only where it stands is read."""
    scored = ("trajectory_id", "a", "b", "gap", "detail_a", "detail_b")
    placed = ("run_id", "step", "split", "group")
    rows = scores(comparison, AS_IS).select_related("trajectory").order_by("pk")
    return rows.only(*scored, *(f"trajectory__{name}" for name in placed))


def _side(
    letter: str, label: str, found: Iterable[tuple[float | None, Mapping[str, Any]]]
) -> SideFigures:
    listed = list(found)
    known = tuple(score for score, _ in listed if score is not None)
    seconds = [
        float(detail["seconds"])
        for _, detail in listed
        if isinstance(detail.get("seconds"), int | float)
    ]
    failed = [detail for score, detail in listed if score is None]
    codes = Counter(str(detail.get("code") or "ungraded") for detail in failed)
    examples = {
        str(detail.get("code") or "ungraded"): str(detail.get("message", "")) for detail in failed
    }
    return SideFigures(
        letter=letter,
        label=label,
        scores=known,
        mean=mean_of(known),
        median=quantile(known, 0.5),
        ungraded=len(failed),
        seconds_p50=quantile(seconds, 0.5),
        seconds_p95=quantile(seconds, 0.95),
        seconds_total=sum(seconds),
        tokens=sum(_tokens(detail) for _, detail in listed),
        problems=[Problem(code, n, examples[code]) for code, n in codes.most_common()],
    )


def _tokens(detail: Mapping[str, Any]) -> int:
    used: Mapping[str, Mapping[str, int]] = detail.get("usage") or {}
    return sum(spent.get("total_tokens", 0) for spent in used.values())


Pairs = Sequence[tuple[Trajectory, float, float]]


def _steps(pairs: Pairs) -> list[StepFigures]:
    by_step: dict[int, list[tuple[float, float]]] = defaultdict(list)
    for row, a, b in pairs:
        by_step[row.step].append((a, b))
    return [
        StepFigures(
            step,
            len(found),
            statistics.fmean(a for a, _ in found),
            statistics.fmean(b for _, b in found),
        )
        for step, found in sorted(by_step.items())
    ]


def _groups(pairs: Pairs) -> Ranks:
    """A pair swaps where A prefers one attempt and B the other; ties are no preference."""
    by_group: dict[tuple[str, int, str, str], list[tuple[float, float]]] = defaultdict(list)
    for row, a, b in pairs:
        by_group[row.run_id, row.step, row.split, row.group].append((a, b))
    groups = [found for found in by_group.values() if len(found) > 1]
    couples = [couple for found in groups for couple in combinations(found, 2)]
    swapped = sum((one[0] - two[0]) * (one[1] - two[1]) < 0 for one, two in couples)
    return Ranks(len(couples), swapped, len(groups), sum(map(_another_best, groups)))


def _another_best(group: Sequence[tuple[float, float]]) -> bool:
    """Whether none of A's best attempts is among B's best."""
    top_a, top_b = max(a for a, _ in group), max(b for _, b in group)
    return not any(a == top_a and b == top_b for a, b in group)


def _steadiness(comparison: Comparison, rows: Sequence[ComparedScore]) -> list[Steadiness]:
    sides = [(comparison.label_b, [(row.trajectory, row.b) for row in rows])]
    if comparison.spec_a is not None:
        sides.insert(0, (comparison.label_a, [(row.trajectory, row.a) for row in rows]))
    return [_steady(label, found, comparison.repeats) for label, found in sides if found]


def _steady(
    label: str, found: Sequence[tuple[Trajectory, float | None]], attempts: int
) -> Steadiness:
    by_trajectory: dict[int, list[float]] = defaultdict(list)
    rows = {row.pk: row for row, _ in found}
    for row, score in found:
        if score is not None:
            by_trajectory[row.pk].append(score)
    samples = [
        Sample(rows[pk], tuple(listed), spread(listed)) for pk, listed in by_trajectory.items()
    ]
    worst = sorted(samples, key=lambda sample: (-sample.spread, sample.trajectory.pk))
    return Steadiness(
        label=label,
        samples=len(samples),
        attempts=attempts,
        identical=sum(sample.spread <= STEADY for sample in samples),
        worst=[sample for sample in worst[:SHOWN] if sample.spread > STEADY],
        mean_spread=statistics.fmean([sample.spread for sample in samples] or [0.0]),
        ungraded=sum(score is None for _, score in found),
    )


def fools(score: float | None, median: float | None) -> bool:
    """Whether a changed sample gets what real answers get: their median, where that is more than
    next to nothing, or more than their median."""
    if score is None or median is None:
        return False
    return score > median or (score == median and score > LOW)


def _forgeries(
    comparison: Comparison,
    rows: Sequence[ComparedScore],
    median_a: float | None,
    median_b: float | None,
) -> Forgeries | None:
    if comparison.spec_a is None:
        median_a = None
    made = [
        Forged(row, WORDS[row.case], fools(row.a, median_a), fools(row.b, median_b)) for row in rows
    ]
    if not made:
        return None
    by_change: dict[str, list[Forged]] = defaultdict(list)
    for one in made:
        by_change[one.words].append(one)
    fooling = [one for one in made if one.fools_a or one.fools_b]
    return Forgeries(
        n=len(made),
        median_a=median_a,
        median_b=median_b,
        changes=[
            _change(words, by_change[words]) for words in WORDS.values() if words in by_change
        ],
        fooling=sorted(fooling, key=lambda one: -max(one.row.a or 0.0, one.row.b or 0.0)),
        fools_a=sum(one.fools_a for one in made),
        fools_b=sum(one.fools_b for one in made),
    )


def _change(words: str, made: Sequence[Forged]) -> Change:
    return Change(
        words=words,
        n=len(made),
        top_a=max((one.row.a for one in made if one.row.a is not None), default=None),
        top_b=max((one.row.b for one in made if one.row.b is not None), default=None),
        fools_a=sum(one.fools_a for one in made),
        fools_b=sum(one.fools_b for one in made),
    )


def _people(comparison: Comparison, rows: Sequence[ComparedScore]) -> People:
    marks = mean_marks(comparison)
    marked = [(row, marks[row.trajectory_id]) for row in rows if row.trajectory_id in marks]
    decided = [
        (abs(row.a - mark), abs(row.b - mark))
        for row, mark in marked
        if row.a is not None and row.b is not None and (row.gap or 0.0) > DISAGREE
    ]
    return People(
        marked=len(marked),
        sides=[
            _agreement(comparison.label_a, [(row.a, mark) for row, mark in marked]),
            _agreement(comparison.label_b, [(row.b, mark) for row, mark in marked]),
        ],
        decided=sum(a != b for a, b in decided),
        closer=sum(b < a for a, b in decided),
    )


def _agreement(label: str, found: Sequence[tuple[float | None, float]]) -> Agreement:
    known = [(score, mark) for score, mark in found if score is not None]
    given, wanted = [score for score, _ in known], [mark for _, mark in known]
    errors = [abs(score - mark) for score, mark in known]
    return Agreement(
        label=label,
        ranks=spearman(given, wanted),
        error=statistics.fmean(errors) if errors else None,
        n=len(known),
    )
