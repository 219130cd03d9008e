"""Columns that grow with a job are those that are made anew."""

from __future__ import annotations

from typing import Any

import pytest

from jobs.models import Job, JobStep, Run, Usage
from jobs.selectors.growing import grown, lead_series, lead_sums
from jobs.selectors.leads import lead_of
from jobs.selectors.overview import lead_steps
from jobs.selectors.series import job_series
from jobs.selectors.usage import job_sums
from jobs.services.rollup import rollup_steps

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _few_points(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.selectors.rollup.MOST_POINTS", 8)


def commit(job: Job, step: int, **metrics: Any) -> None:
    train = {
        "reward_mean": step / 7,
        "parts": {"accuracy": step / 3},
        "stops": {"final_answer": 3, "token_loop": step % 3},
        "tools": {"search": {"errors": step % 2, "faults": 0}},
    }
    figures = {"train": train, "seconds": {"total": 2.0 + step}, **metrics}
    if step % 5 == 0:
        figures["validation"] = {"reward_mean": 1 / (step + 1)}
    JobStep.objects.create(run=Run.objects.get(job=job), step=step, epoch=1, metrics=figures)
    rollup_steps(Run.objects.get(job=job))
    Run.objects.filter(job=job).update(last_step=step)
    job.last_step = step
    job.save(update_fields=["last_step"])


def test_after_every_step_they_are_as_if_made_anew(make_job) -> None:
    job = make_job()
    commit(job, 0)
    before, sizes, joined = job_series(job), set(), 0
    for step in range(1, 70):
        commit(job, step)
        found = grown(before, job, None, None)
        anew = job_series(job)
        assert found in (anew, None)
        joined += found is not None
        sizes.add(anew["size"])
        before = anew
    assert sizes == {1, 2, 4, 8, 16}
    # Anew where points became larger, and only there.
    assert joined == 69 - 4


def test_a_part_of_the_steps_stands_still(make_job) -> None:
    job = make_job()
    for step in range(9):
        commit(job, step)
    before = job_series(job, first=2, last=6)
    commit(job, 9)
    assert grown(before, job, 2, 6) == before == job_series(job, first=2, last=6)


def test_a_name_that_appears_is_not_left_out(make_job) -> None:
    job = make_job()
    commit(job, 0)
    before = job_series(job)
    commit(job, 1, seconds={"total": 1.0, "judging": 0.5})
    assert grown(before, job, None, None) is None
    assert job_series(job)["seconds"]["judging"] == [None, 0.5]


def test_a_live_job_reads_the_newest_point_alone(make_job, django_assert_num_queries) -> None:
    job = make_job()
    for step in range(40):
        commit(job, step)
    first = lead_series(lead_of(job), None, None)
    JobStep.objects.filter(run__job=job, step__lt=30).delete()
    commit(job, 40)
    lead = lead_of(job)
    with django_assert_num_queries(1):
        second = lead_series(lead, None, None)
    assert second["train_reward"][:-1] == first["train_reward"]
    assert second["step"] == [*first["step"], 40]


def test_another_epoch_begins_anew(make_job) -> None:
    job = make_job()
    for step in range(3):
        commit(job, step)
    lead_series(lead_of(job), None, None)
    Run.objects.filter(job=job).update(epoch=2)
    JobStep.objects.filter(run__job=job, step=1).update(metrics={"train": {"reward_mean": 0.5}})
    assert lead_series(lead_of(job), None, None)["train_reward"][1] == 0.5


def take(job: Job, step: int, kind: str = "train", **figures: Any) -> None:
    run, _ = Run.objects.get_or_create(job=job, kind=kind)
    Usage.objects.create(run=run, step=step, seconds=2.0 + step, **figures)


def test_what_a_job_took_grows_step_by_step_and_by_what_is_measured_on_demand(make_job) -> None:
    job = make_job()
    for step in range(4):
        take(job, step, sampled_tokens=100, judge_calls=step)
        commit(job, step)
        assert lead_sums(lead_of(job)) == job_sums(job)
    take(job, 0, kind="replay", judge_calls=7)
    assert lead_sums(lead_of(job)) == job_sums(job)
    assert lead_sums(lead_of(job)).judge_calls == 0 + 1 + 2 + 3 + 7


def test_who_saw_an_earlier_step_adds_none_twice(make_job) -> None:
    job, leads = make_job(), []
    for step in range(3):
        take(job, step)
        commit(job, step)
        leads.append(lead_of(job))
    assert lead_sums(leads[2]).seconds == 2.0 + 3.0 + 4.0
    assert lead_sums(leads[1]).seconds == 2.0 + 3.0
    take(job, 3)
    commit(job, 3)
    assert lead_sums(lead_of(job)).seconds == 2.0 + 3.0 + 4.0 + 5.0


def test_the_steps_of_the_tiles_grow_into_those_that_are_read_anew(
    make_job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.selectors.overview.NEWEST", 3)
    job, told = make_job(), []
    for step in range(12):
        commit(job, step)
        grown_steps, _ = lead_steps(lead_of(job))
        told.append([each.step for each in grown_steps])
    assert told[:4] == [[0], [0, 1], [0, 1, 2], [0, 1, 2, 3]]
    assert told[4:9] == [[0, 2, 3, 4], [0, 3, 4, 5], [0, 4, 5, 6], [0, 5, 6, 7], [0, 5, 6, 7, 8]]
    # Evaluated were 0, 5 and 10: where the newest have none, the last one stays.
    assert told[9:] == [[0, 5, 7, 8, 9], [0, 8, 9, 10], [0, 9, 10, 11]]
    Run.objects.filter(job=job).update(epoch=2)
    anew, _ = lead_steps(lead_of(job))
    assert [(each.step, each.metrics) for each in anew] == [
        (each.step, each.metrics) for each in grown_steps
    ]


def test_a_step_in_focus_is_found_among_them_or_read(make_job, monkeypatch) -> None:
    monkeypatch.setattr("jobs.selectors.overview.NEWEST", 3)
    job = make_job()
    for step in range(8):
        commit(job, step)
    shown = [lead_steps(lead_of(job), focus)[1] for focus in (None, 0, 2, 7, 8)]
    assert [each and each.step for each in shown] == [None, 0, 2, 7, None]
