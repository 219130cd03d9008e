"""What a comparison says: figures, steps, groups, steadiness, forgeries and people."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from graders.models import GraderVersion
from hone.accounts.models import AuditEntry, User
from hone.core.errors import UserError
from jobs.models import ComparedScore, Comparison, HumanMark, Job, Trajectory
from jobs.workbench import work
from jobs.workbench.findings import findings, fools
from jobs.workbench.selectors import mark_range, mean_marks
from jobs.workbench.services import Side, mark_set

Make = Callable[..., Comparison]


def test_the_figures_of_both_sides(compare: Make) -> None:
    done = compare(first_step=4, last_step=4, split="train")
    found = findings(done)
    # 16 attempts, one of them faulted. Two say more than "yes".
    rows = done.scores.all()
    assert (found.both, found.a.ungraded, found.b.ungraded) == (15, 0, 0)
    assert found.a.mean is not None
    assert found.a.mean.value == pytest.approx(sum(row.a or 0 for row in rows) / 15)
    assert found.disagree == sum(row.gap == 1.0 for row in rows) == 2
    assert found.disagree_share is not None
    assert found.disagree_share.value == pytest.approx(2 / 15)
    assert found.difference is not None
    assert found.difference.value == pytest.approx(
        sum((row.b or 0) - (row.a or 0) for row in rows) / 15
    )
    assert found.b.seconds_p50 is not None


def test_the_tokens_of_judges_are_summed(compare: Make) -> None:
    done = compare(most=3)
    assert (findings(done).b.tokens, findings(done).a.tokens) == (0, 0)
    used = {"usage": {"judge-1": {"total_tokens": 40}, "judge-2": {"total_tokens": 2}}}
    done.scores.update(detail_b=used)
    assert findings(done).b.tokens == 126


def test_the_job_graded_again_has_a_mean_of_each_step_beside_the_old_one(compare: Make) -> None:
    done = compare()
    steps = findings(done).steps
    assert [step.step for step in steps] == [0, 1, 2, 3, 4]
    for step in steps:
        rows = list(done.scores.filter(trajectory__step=step.step))
        assert step.n == len(rows)
        assert step.a == pytest.approx(sum(row.a or 0 for row in rows) / len(rows))
        assert step.b == pytest.approx(sum(row.b or 0 for row in rows) / len(rows))


def test_pairs_that_swap_and_groups_with_another_best_are_counted(
    compare: Make, job: Job, grader: Callable[..., GraderVersion]
) -> None:
    opposite = grader("opposite", operation="ne")
    done = compare(Side.of(grader("exact")), Side.of(opposite), first_step=4, split="validation")
    found = findings(done).groups
    groups: dict[str, list[ComparedScore]] = {}
    for score in done.scores.select_related("trajectory"):
        groups.setdefault(score.trajectory.group, []).append(score)
    swapped = sum(
        (one.a - two.a) * (one.b - two.b) < 0
        for rows in groups.values()
        for at, one in enumerate(rows)
        for two in rows[at + 1 :]
    )
    assert (found.groups, found.swapped) == (4, swapped)
    assert swapped > 0
    assert found.another_best >= 1


def test_a_steady_grader_gives_the_same_each_time(compare: Make) -> None:
    done = compare(repeats=3, most=6)
    (steady,) = findings(done).steady
    assert (steady.samples, steady.attempts, steady.identical) == (6, 3, 6)
    assert steady.is_steady
    assert steady.worst == []
    # The repeats are no samples of their own.
    assert findings(done).both == 6


def test_an_unsteady_grader_is_shown_with_its_spread(compare: Make) -> None:
    done = compare(repeats=2, most=3)
    again = ComparedScore.objects.filter(comparison=done, case="again").order_by("pk")
    trembling = again[0].trajectory_id
    again.filter(trajectory=trembling, attempt=1).update(b=0.0)
    again.filter(trajectory=trembling, attempt=2).update(b=1.0)
    (found,) = findings(done).steady
    assert (found.samples, found.identical, found.is_steady) == (3, 2, False)
    assert [sample.trajectory.pk for sample in found.worst] == [trembling]
    assert found.worst[0].scores == (0.0, 1.0)
    assert found.worst[0].spread == pytest.approx(0.7071, abs=1e-4)


def test_changed_answers_that_get_what_real_ones_get_fool_a_grader(
    compare: Make, grader: Callable[..., GraderVersion]
) -> None:
    always = grader("always", input="a", reference="a")
    done = compare(b=Side.of(always), mutations=True, first_step=4)
    found = findings(done).forgeries
    assert found is not None
    assert found.median_b == 1.0
    assert found.fools_b == found.n == len(found.fooling)
    assert found.fools_a == 0
    blank = next(change for change in found.changes if change.words == "an empty answer")
    assert (blank.top_b, blank.fools_b) == (1.0, blank.n)


def test_a_sound_grader_is_fooled_by_none(
    compare: Make, grader: Callable[..., GraderVersion]
) -> None:
    done = compare(b=Side.of(grader("exact")), mutations=True, first_step=4)
    found = findings(done).forgeries
    assert found is not None
    assert found.fooling == []
    # The answer to another task would be right here, since all want the same: there is none.
    assert "the answer to another task" not in {change.words for change in found.changes}
    assert found.n > 100


@pytest.mark.parametrize(
    ("score", "median", "is_fooled"),
    [
        (0.6, 0.5, True),
        (0.5, 0.5, True),
        (0.4, 0.5, False),
        (0.0, 0.0, False),
        (0.05, 0.0, True),
        (None, 0.0, False),
        (1.0, None, False),
    ],
)
def test_what_fools(score: float | None, median: float | None, is_fooled: bool) -> None:
    assert fools(score, median) is is_fooled


def test_marks_of_people_say_which_side_ranks_as_they_do(
    compare: Make, alice: User, bob: User, grader: Callable[..., GraderVersion]
) -> None:
    exact, opposite = grader("exact"), grader("opposite", operation="ne")
    done = compare(Side.of(exact), Side.of(opposite), first_step=4, split="train")
    for score in done.scores.select_related("trajectory__run"):
        mark_set(acting_user=alice, trajectory=score.trajectory, value=score.a)
    one = done.scores.filter(a=1.0)[0]
    mark_set(acting_user=bob, trajectory=one.trajectory, value=0.5)
    assert mean_marks(done)[one.trajectory_id] == 0.75
    found = findings(done).people
    a, b = found.sides
    assert (found.marked, a.n, b.n) == (15, 15, 15)
    assert a.ranks is not None
    assert b.ranks is not None
    assert a.ranks.value > 0.9 > -0.7 > b.ranks.value
    assert a.error == pytest.approx(0.25 / 15)
    # Of the attempt that looped both say 0.
    assert (found.decided, found.closer) == (14, 0)


def test_a_mark_belongs_to_a_person_and_can_be_changed_and_taken_back(
    job: Job, one: Trajectory, alice: User, bob: User
) -> None:
    mark_set(acting_user=alice, trajectory=one, value=0.2)
    mark_set(acting_user=alice, trajectory=one, value=0.9)
    mark_set(acting_user=bob, trajectory=one, value=1)
    assert sorted(HumanMark.objects.values_list("user__email", "value")) == [
        ("alice@example.org", 0.9),
        ("bob@example.org", 1.0),
    ]
    mark_set(acting_user=alice, trajectory=one, value=None)
    assert HumanMark.objects.get().user == bob
    assert AuditEntry.objects.filter(action="job.mark").count() == 4


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan"), float("inf")])
def test_a_mark_off_the_scale_is_refused(one: Trajectory, alice: User, value: float) -> None:
    with pytest.raises(UserError, match="Use a number from 0 to 1"):
        mark_set(acting_user=alice, trajectory=one, value=value)
    assert HumanMark.objects.count() == 0


@pytest.mark.parametrize(
    ("spec", "scale"),
    [
        ({"range": [0, 5]}, (0.0, 5.0)),
        ({"range": [1, 0]}, (0.0, 1.0)),
        ({"range": [True, 5]}, (0.0, 1.0)),
        ({"range": "wide"}, (0.0, 1.0)),
        ({}, (0.0, 1.0)),
        (None, (0.0, 1.0)),
    ],
)
def test_people_mark_on_the_grader_s_own_scale(
    spec: dict[str, object] | None, scale: tuple[float, float]
) -> None:
    assert mark_range(spec) == scale


def test_findings_can_be_read_while_it_runs(compare: Make) -> None:
    comparison = compare(work=False, repeats=2, mutations=True)
    empty = findings(comparison)
    assert (empty.both, empty.steps, empty.steady, empty.forgeries) == (0, [], [], None)
    work.comparison_work(comparison.pk, turn_s=0.05)
    assert findings(comparison).both > 0
