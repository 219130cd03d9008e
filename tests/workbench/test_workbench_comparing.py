"""Two graders over stored trajectories: what is read, what is kept, and that nothing else moves."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import story
from django.core.exceptions import PermissionDenied
from django.http import Http404
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from sandboxes import needs_sandbox

from graders.kinds.base import Grading, GradingError
from graders.models import GraderVersion
from hone.accounts.models import AuditEntry, User
from hone.celery import app
from hone.core.errors import UserError
from jobs.management.commands.sweep import look
from jobs.models import ComparedScore, Comparison, Job, JobEvent, Trajectory, run_folder
from jobs.tasks import compare as compare_task
from jobs.workbench import work
from jobs.workbench.findings import findings
from jobs.workbench.selectors import Selection, access_comparison, score_page
from jobs.workbench.services import (
    STORED,
    Side,
    comparison_cancel,
    comparison_create,
    comparison_delete,
)
from jobs.workbench.work import comparison_work, comparisons_ring

Make = Callable[..., Comparison]


def test_every_trajectory_that_can_be_graded_is_graded(compare: Make, job: Job) -> None:
    done = compare()
    gradable = Trajectory.objects.filter(run__job=job).exclude(stop="tool_fault")
    assert (done.status, done.done, done.total) == ("done", gradable.count(), gradable.count())
    assert set(done.scores.values_list("trajectory", flat=True)) == set(
        gradable.values_list("pk", flat=True)
    )
    assert done.finished_at is not None


def test_nothing_of_the_job_changes(compare: Make, job: Job) -> None:
    def state() -> tuple[Any, ...]:
        rows = Trajectory.objects.order_by("pk").values_list()
        return list(rows), Job.objects.values_list().get(), JobEvent.objects.count()

    before = state()
    compare(repeats=2, mutations=True)
    assert state() == before


def test_stored_rewards_stand_beside_the_new_scores(compare: Make, job: Job) -> None:
    done = compare()
    loose_only = done.scores.filter(a=0.0, b=1.0)
    # The first attempt says "yes" and more, which only the looser grader takes for right.
    found = set(loose_only.values_list("trajectory__sample", flat=True))
    assert found == {0}
    assert all(score.gap == 1.0 for score in loose_only)
    same = done.scores.exclude(trajectory__sample=0)
    assert set(same.values_list("gap", flat=True)) == {0.0}


def test_an_attempt_that_a_limit_ended_gets_at_most_nothing(
    compare: Make, grader: Callable[..., GraderVersion]
) -> None:
    always = grader("always", input="a", reference="a")
    done = compare(b=Side.of(always))
    looped = done.scores.filter(trajectory__stop="tool_loop")
    assert {(score.b, score.detail_b["raw"]) for score in looped} == {(0.0, 1.0)}
    others = done.scores.exclude(trajectory__stop="tool_loop")
    assert set(others.values_list("b", flat=True)) == {1.0}


def test_an_error_is_no_score_and_is_counted_by_its_code(
    compare: Make, grader: Callable[..., GraderVersion]
) -> None:
    broken = grader("broken", reference="{{item.nothing}}")
    done = compare(b=Side.of(broken))
    assert set(done.scores.values_list("b", "gap")) == {(None, None)}
    found = findings(done)
    assert (found.both, found.b.ungraded, found.b.mean) == (0, done.total, None)
    assert [(problem.code, problem.n) for problem in found.b.problems] == [
        ("invalid_variable", done.total)
    ]
    assert "item.nothing" in found.b.problems[0].example


def test_a_body_that_cannot_be_read_is_an_error_of_both_sides(compare: Make, job: Job) -> None:
    run = Trajectory.objects.filter(run__job=job)[0].run_id
    for name in (run_folder(run) / "trajectories").iterdir():
        name.write_bytes(b"gone")
    done = compare()
    score = done.scores.all()[0]
    assert (score.a, score.b) == (None, None)
    assert score.detail_b["code"] == "unreadable"
    assert "cannot be read" in score.detail_b["message"]
    assert done.status == "done"


def test_a_draft_is_compared_without_being_saved(compare: Make, loose: GraderVersion) -> None:
    draft = Side("draft", {**story.EXACT, "operation": "ne"})
    done = compare(Side.of(loose), draft)
    assert (done.version_a, done.version_b, done.label_b) == (loose, None, "draft")
    assert GraderVersion.objects.count() == 2
    assert done.scores.exclude(gap=None).count() == done.total


@needs_sandbox
def test_python_grades_out_of_reach(compare: Make) -> None:
    source = "def grade(sample, item):\n    return len(sample['output_tools']) / 10"
    done = compare(b=Side("draft", {"type": "python", "source": source}), most=16)
    assert set(done.scores.values_list("b", flat=True)) <= {0.1, 0.0}
    assert done.scores.filter(b=0.1).exists()


def test_the_choice_is_by_step_and_split_and_drawn_evenly(compare: Make) -> None:
    done = compare(first_step=2, last_step=3, split="train", most=10, work=False)
    rows = Trajectory.objects.filter(pk__in=done.chosen)
    assert (done.matching, len(done.chosen)) == (30, 10)
    assert sorted(rows.values_list("step", flat=True)) == [2] * 5 + [3] * 5
    assert len(set(rows.values_list("reward", flat=True))) > 1


def test_a_worker_gives_it_back_in_time_and_the_next_goes_on(
    compare: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []
    monkeypatch.setattr(work, "send", lambda task, argument: sent.append(argument))
    comparison = compare(work=False, most=40)
    turns = 0
    while comparison.is_open:
        batches = iter([False, False])
        comparison_work(comparison.pk, stopping=partial(next, batches, True))
        comparison.refresh_from_db()
        turns += 1
        assert comparison.scores.count() == comparison.done
    # Two batches of 8 in each turn.
    assert (comparison.status, comparison.done, turns) == ("done", 40, 3)
    assert sent == [comparison.pk] * 2


def test_a_turn_ends_when_its_time_is_over(compare: Make) -> None:
    comparison = compare(work=False)
    comparison_work(comparison.pk, turn_s=0.0)
    comparison.refresh_from_db()
    assert (comparison.status, comparison.done) == ("running", 0)


def test_a_batch_that_takes_longer_than_its_lease_keeps_it_and_ends_with_the_turn(
    compare: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    comparison = compare(work=False)
    monkeypatch.setattr(work, "LOOK_S", 0.05)
    real, began, taken = work.grade_or_error, threading.Barrier(4), []

    def slow(*args: Any) -> Any:
        began.wait(10)
        time.sleep(0.3)
        return real(*args)

    def look(*args: Any, **more: Any) -> Any:
        taken.append(Comparison.objects.filter(work._FREE, pk=comparison.pk).exists())
        Comparison.objects.update(lease_until=None)
        return wait(*args, **more)

    wait = work.wait
    monkeypatch.setattr(work, "grade_or_error", slow)
    monkeypatch.setattr(work, "wait", look)
    comparison_work(comparison.pk, turn_s=0.1)
    comparison.refresh_from_db()
    # The four that had begun are kept; each look after the first made up for the lost lease.
    assert (comparison.done, comparison.scores.count()) == (work.AT_ONCE, work.AT_ONCE)
    assert comparison.status == "running"
    assert len(taken) > 2


def test_a_renewed_lease_is_the_holder_s_alone(compare: Make) -> None:
    comparison = compare(work=False)
    held = work._claim(comparison.pk)
    assert held is not None
    Comparison.objects.update(lease_until=None)
    assert work._renew(held) is True
    assert work._claim(comparison.pk) is None
    Comparison.objects.update(epoch=held.epoch + 1)
    assert work._renew(held) is False


def test_a_judge_that_is_away_is_waited_for_and_then_asked_again(
    compare: Make, monkeypatch: pytest.MonkeyPatch, owner: Client
) -> None:
    comparison = compare(work=False, most=10)
    real = work.grade_or_error
    away = Grading(
        reward=None, error=GradingError("model_grader_server", "It answered 503.", infra=True)
    )
    monkeypatch.setattr(work, "grade_or_error", lambda *args: away)
    waits = []
    for _ in range(3):
        comparison_work(comparison.pk)
        comparison.refresh_from_db()
        assert comparison.lease_until is not None
        waits.append(round((comparison.lease_until - timezone.now()).total_seconds() / 60))
        comparison_work(comparison.pk)
        Comparison.objects.update(lease_until=None)
    assert waits == [1, 2, 4]
    assert (comparison.status, comparison.done, comparison.scores.count()) == ("running", 0, 0)
    page = owner.get(reverse("comparison", args=[comparison.pk])).content.decode()
    assert "Waiting for the judge" in page
    assert "It answered 503." in page
    monkeypatch.setattr(work, "grade_or_error", real)
    comparison_work(comparison.pk)
    comparison.refresh_from_db()
    assert (comparison.status, comparison.done, comparison.waits) == ("done", 10, 0)
    assert comparison.message == ""


def test_a_judge_that_stays_away_is_given_up_and_its_errors_stand(
    compare: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = Grading(
        reward=None, error=GradingError("model_grader_server", "It answered 503.", infra=True)
    )
    monkeypatch.setattr(work, "grade_or_error", lambda *args: away)
    comparison = compare(work=False, most=10)
    Comparison.objects.update(waits=work.MOST_WAITS)
    comparison_work(comparison.pk)
    comparison.refresh_from_db()
    assert (comparison.status, comparison.done) == ("done", 10)
    assert {score.detail_b["code"] for score in comparison.scores.all()} == {"model_grader_server"}


def test_a_worker_that_stops_gives_it_back_at_once(compare: Make) -> None:
    comparison = compare(work=False)
    comparison_work(comparison.pk, stopping=lambda: True)
    comparison.refresh_from_db()
    assert (comparison.status, comparison.done, comparison.lease_until) == ("running", 0, None)


def test_who_lost_the_lease_writes_nothing(compare: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    comparison = compare(work=False)
    first = work._claim(comparison.pk)
    assert first is not None
    assert work._claim(comparison.pk) is None
    Comparison.objects.update(lease_until=None)
    second = work._claim(comparison.pk)
    assert second is not None
    assert work._batch_save(first, 1, []) is False
    assert work._batch_save(second, 1, []) is True
    comparison.refresh_from_db()
    assert comparison.done == 1


def test_a_cancelled_one_keeps_what_it_has_and_ends(
    compare: Make, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    comparison = compare(work=False)
    save = work._batch_save

    def save_once(*args: Any) -> bool:
        kept = save(*args)
        comparison_cancel(acting_user=alice, comparison=comparison)
        return kept

    monkeypatch.setattr(work, "_batch_save", save_once)
    comparison_work(comparison.pk)
    comparison.refresh_from_db()
    assert (comparison.status, comparison.done) == ("cancelled", work.BATCH)
    assert comparison.scores.count() == work.BATCH
    with pytest.raises(UserError, match="cancelled already and cannot be cancelled"):
        comparison_cancel(acting_user=alice, comparison=comparison)


def test_a_bug_fails_it_with_a_sentence(compare: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: Any) -> None:
        raise RuntimeError("no luck")

    monkeypatch.setattr(work, "make_sample", broken)
    comparison = compare()
    assert (comparison.status, comparison.message) == ("failed", "RuntimeError: no luck")


def test_the_sweeper_rings_once_for_one_that_stands_still(
    compare: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[tuple[str, str]] = []
    monkeypatch.setattr(work, "send", lambda *bell: sent.append(bell) or True)
    comparison = compare(work=False)
    assert comparisons_ring() == 0
    Comparison.objects.update(rung_at=None)
    assert (comparisons_ring(), comparisons_ring()) == (1, 0)
    assert sent == [("jobs.compare", comparison.pk)]


def test_the_worker_s_task_and_the_sweeper_know_of_it(
    compare: Make, monkeypatch: pytest.MonkeyPatch, settings: Any, tmp_path: Path
) -> None:
    settings.DATA_DIR = tmp_path
    comparison = compare(work=False, most=3)
    assert app.tasks["jobs.compare"] == compare_task
    sent: list[str] = []
    monkeypatch.setattr(work, "send", lambda *bell: sent.append(bell[1]) or True)
    Comparison.objects.update(rung_at=None)
    look()
    assert sent == [comparison.pk]
    compare_task(comparison.pk)
    comparison.refresh_from_db()
    assert comparison.status == "done"


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"most": 0}, "0 was asked for; choose 1 to 5000."),
        ({"most": 5001}, "5001 was asked for; choose 1 to 5000."),
        ({"repeats": 21}, "21 was asked for; choose 0 to 20."),
        ({"first_step": 77}, "has no stored trajectory of these steps"),
    ],
)
def test_what_cannot_be_compared_is_refused_and_nothing_is_kept(
    compare: Make, asked: dict[str, Any], said: str
) -> None:
    with pytest.raises(UserError, match=said.replace("(", r"\(")):
        compare(**asked)
    assert Comparison.objects.count() == 0


def test_the_same_on_both_sides_and_broken_specs_are_refused(
    compare: Make, loose: GraderVersion
) -> None:
    with pytest.raises(UserError, match="Both sides are the same"):
        compare(Side.of(loose), Side("draft", dict(loose.spec)))
    with pytest.raises(UserError, match="Both sides are the same"):
        compare(b=STORED)
    with pytest.raises(UserError, match="'nothing' is no kind of grader"):
        compare(b=Side("draft", {"type": "nothing"}))
    assert Comparison.objects.count() == 0


@pytest.mark.parametrize("shape", [lambda part: {"a": part}, lambda part: [part]])
def test_a_draft_with_headers_is_not_kept(compare: Make, shape: Any) -> None:
    part = {
        "type": "endpoint",
        "name": "a",
        "url": "https://grader.example.org/score",
        "headers": {"Authorization": "hush"},
    }
    spec = {"type": "multi", "graders": shape(part), "calculate_output": "a"}
    with pytest.raises(UserError, match="this one holds headers, which may be secret"):
        compare(b=Side("draft", spec))
    assert Comparison.objects.count() == 0


def test_a_property_named_headers_is_no_secret(compare: Make) -> None:
    schema = {"type": "object", "properties": {"headers": {"type": "string"}}}
    spec = {"type": "json_schema_match", "name": "form", "schema": schema}
    done = compare(b=Side("draft", spec), most=2, work=False)
    assert done.spec_b == spec


def test_a_draft_with_a_judge_that_nobody_registered_is_refused(compare: Make) -> None:
    spec = {
        "type": "score_model",
        "name": "a",
        "model": "nobody/knows",
        "input": [{"role": "user", "content": "{{sample.output_text}}"}],
    }
    with pytest.raises(UserError, match="'nobody/knows' is offered by no judge"):
        compare(b=Side("draft", spec))
    assert Comparison.objects.count() == 0


def test_an_organisation_has_four_open_ones_at_most(compare: Make) -> None:
    for _ in range(4):
        compare(work=False)
    with pytest.raises(UserError, match="4 comparisons of your organisation have not ended"):
        compare(work=False)


def test_only_members_change_and_only_the_organisation_sees(
    compare: Make, job: Job, dora: User, charlie: User, alice: User, loose: GraderVersion
) -> None:
    done = compare(most=4)
    assert access_comparison(dora, done.pk) == done
    with pytest.raises(PermissionDenied):
        comparison_delete(acting_user=dora, comparison=done)
    with pytest.raises(PermissionDenied):
        comparison_create(
            acting_user=dora, job=job, sides=(STORED, Side.of(loose)), selection=Selection()
        )
    with pytest.raises(Http404):
        access_comparison(charlie, done.pk)
    comparison_delete(acting_user=alice, comparison=done)
    assert (Comparison.objects.count(), ComparedScore.objects.count()) == (0, 0)
    assert [entry.action for entry in AuditEntry.objects.filter(target=done.pk)] == [
        "comparison.create",
        "comparison.delete",
    ]


def test_disagreements_come_first_and_pages_meet(compare: Make) -> None:
    done = compare()
    first, more = score_page(done)
    rest, end = score_page(done, start=25)
    gaps = [score.gap for score in [*first, *rest]]
    assert more is True
    assert gaps == sorted(gaps, key=lambda gap: -(gap or 0.0))
    assert not {score.pk for score in first} & {score.pk for score in rest}
    assert end is (done.total > 50)
    only, _ = score_page(done, only="disagree")
    assert {score.gap for score in only} == {1.0}
