"""What the pages read: verdicts, series, lists by keyset and the doors."""

from __future__ import annotations

from typing import Any

import pytest
from django.http import Http404

from jobs.models import Job, JobStep, Run, Trajectory
from jobs.selectors import (
    Filters,
    access_job,
    access_trajectory,
    job_checkpoints,
    job_events,
    job_list,
    job_overview,
    job_series,
    queue_place,
    seconds_left,
    trajectory_list,
)
from jobs.supervisor.supervise import supervise

pytestmark = pytest.mark.django_db(transaction=True)


def add_steps(job: Job, rewards: list[float], **metrics: Any) -> None:
    run = Run.objects.get(job=job)
    for step, reward in enumerate(rewards):
        figures = {"train": {"reward_mean": reward}, "seconds": {"total": 2.0}, **metrics}
        JobStep.objects.create(run=run, step=step, epoch=1, metrics=figures)


def add_validation(job: Job, step: int, rewards: list[float]) -> None:
    run = Run.objects.get(job=job)
    mean = sum(rewards) / len(rewards)
    metrics = {"validation": {"reward_mean": mean}}
    JobStep.objects.create(run=run, step=step, epoch=1, metrics=metrics)
    for row, reward in enumerate(rewards):
        Trajectory.objects.create(
            run=run, step=step, uid=f"{step}-{row}", split="validation", row=row, group=str(row),
            sample=0, reward=reward, turns=1, tool_calls=0, tokens=1, total_tokens=2,
            stop="final_answer", bodies="", offset=0, length=0,
        )  # fmt: skip


def test_the_verdict_compares_the_same_tasks_and_says_what_they_show(make_job) -> None:
    job = make_job()
    add_validation(job, 0, [0.0, 0.0, 0.5, 0.5])
    add_validation(job, 8, [1.0, 0.5, 1.0, 1.0])
    assert job_overview(job).verdict == (
        "Waiting for a training worker. Validation reward 0.875 at step 8, base 0.250 "
        "(+0.62, 95 % interval +0.38 to +0.87, 4 tasks). Rising."
    )


def test_a_job_without_signal_says_so_plainly(make_job) -> None:
    job = make_job()
    add_steps(job, [0.0, 0.0, 0.0], groups={"total": 8, "with_signal": 0})
    assert "There is no learning signal: in all 2 training steps every group's rewards were" in (
        job_overview(job).verdict
    )


def test_a_series_of_many_steps_has_at_most_400_points_of_bucket_means(make_job) -> None:
    job = make_job()
    add_steps(job, [float(step) for step in range(1000)])
    series = job_series(job)
    assert len(series["step"]) == 334
    assert (series["step"][0], series["train_reward"][0]) == (2, 1.0)
    assert (series["step"][-1], series["train_reward"][-1]) == (999, 999.0)
    assert series["validation_reward"][0] is None


def test_stop_reasons_are_shares(make_job) -> None:
    job = make_job()
    add_steps(job, [0.5], train={"stops": {"final_answer": 3, "token_loop": 1}})
    assert job_series(job)["stops"] == {"final_answer": [0.75], "token_loop": [0.25]}


def test_trajectories_page_by_keyset_both_ways(make_job, fake_engine) -> None:
    job = make_job(steps=2)
    supervise(Run.objects.get(job=job).pk)
    first = trajectory_list(job, Filters(), limit=5)
    second = trajectory_list(job, Filters(), after=first.after, limit=5)
    third = trajectory_list(job, Filters(), after=second.after, limit=5)
    assert [len(page.rows) for page in (first, second, third)] == [5, 5, 2]
    assert (first.before, third.after) == (None, None)
    back = trajectory_list(job, Filters(), before=second.before, limit=5)
    assert [row.pk for row in back.rows] == [row.pk for row in first.rows]


@pytest.mark.parametrize(
    ("filters", "count"),
    [
        (Filters(step=1), 4),
        (Filters(split="validation"), 4),
        (Filters(flag="looped"), 3),
        (Filters(flag="loop"), 0),
        (Filters(row=0), 6),
        (Filters(reward_from=0.6), 0),
        (Filters(text="OK", step=0), 4),
        (Filters(stop="final_answer", group="g1", step=2), 2),
    ],
)
def test_filters_leave_what_they_say(make_job, fake_engine, filters: Filters, count: int) -> None:
    job = make_job(steps=2)
    supervise(Run.objects.get(job=job).pk)
    assert len(trajectory_list(job, filters).rows) == count


def test_events_are_newest_first_and_page_by_id(make_job, fake_engine) -> None:
    job = make_job(steps=1)
    supervise(Run.objects.get(job=job).pk)
    newest = job_events(job, limit=2)
    assert [event.code for event in newest] == ["succeeded", "step"]
    assert job_events(job, after=newest[-1].pk, limit=1)[0].text == (
        "Step 0 of 1, validation reward 0.250."
    )


def test_checkpoints_are_best_first_and_those_on_disk(make_job, fake_engine) -> None:
    job = make_job(steps=4)
    supervise(Run.objects.get(job=job).pk)
    assert [row.step for row in job_checkpoints(job)] == [4, 3]


def test_jobs_that_need_somebody_come_first(make_job, organisation) -> None:
    queued, paused = make_job(), make_job()
    Job.objects.filter(pk=paused.pk).update(status="paused")
    newest = make_job()
    assert [job.pk for job in job_list(organisation)] == [paused.pk, newest.pk, queued.pk]
    assert [job.pk for job in job_list(organisation, status="paused")] == [paused.pk]


def test_the_place_in_the_queue_counts_earlier_jobs(make_job) -> None:
    first, second = make_job(), make_job()
    assert (queue_place(first), queue_place(second)) == (1, 2)


def test_the_time_left_is_the_mean_step_time_for_each_step_left(make_job) -> None:
    job = make_job(steps=10)
    add_steps(job, [0.1, 0.2, 0.3])
    job.last_step = 2
    assert seconds_left(job, list(JobStep.objects.order_by("step"))) == 16.0


def test_a_foreign_job_and_its_trajectories_are_as_absent_ones(
    make_job, fake_engine, bob, charlie
) -> None:
    job = make_job(steps=1)
    supervise(Run.objects.get(job=job).pk)
    trajectory = Trajectory.objects.filter(run__job=job).first()
    assert access_trajectory(bob, job.pk, trajectory.pk) == trajectory
    for call in (
        lambda: access_job(charlie, job.pk),
        lambda: access_trajectory(charlie, job.pk, trajectory.pk),
        lambda: access_trajectory(bob, make_job().pk, trajectory.pk),
        lambda: access_trajectory(bob, job.pk, 2**70),
    ):
        with pytest.raises(Http404):
            call()
