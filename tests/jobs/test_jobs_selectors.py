"""What the pages read: verdicts, series, lists by keyset and the doors."""

from __future__ import annotations

from typing import Any

import pytest
from django.http import Http404

from jobs.models import Job, JobEvent, JobStep, Run, Trajectory
from jobs.selectors import (
    Filters,
    JobFilters,
    access_job,
    access_trajectory,
    job_checkpoints,
    job_history,
    job_list,
    job_overview,
    job_series,
    queue_of,
    trajectory_list,
)
from jobs.selectors.forecast import TimeLeft, step_seconds, time_left
from jobs.selectors.leads import lead_of
from jobs.services.rollup import rollup_steps
from jobs.supervisor.supervise import supervise

pytestmark = pytest.mark.django_db(transaction=True)


def add_steps(job: Job, rewards: list[float], **metrics: Any) -> None:
    run = Run.objects.get(job=job)
    for step, reward in enumerate(rewards):
        figures = {"train": {"reward_mean": reward}, "seconds": {"total": 2.0}, **metrics}
        JobStep.objects.create(run=run, step=step, epoch=1, metrics=figures)
    job.last_step = len(rewards) - 1
    job.save(update_fields=["last_step"])


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
    assert job_overview(lead_of(job)).verdict == (
        "Validation reward 0.875 at step 8, base 0.250 "
        "(+0.62, 95 % interval +0.23 to +1.02, 4 tasks). Rising."
    )


def test_a_job_without_signal_says_so_plainly(make_job) -> None:
    job = make_job()
    add_steps(job, [0.0, 0.0, 0.0], groups={"total": 8, "with_signal": 0})
    assert "There is no learning signal: in all 2 training steps every group's rewards were" in (
        job_overview(lead_of(job)).verdict
    )


def test_a_series_of_many_steps_has_buckets_of_the_last_value_and_keeps_spikes(make_job) -> None:
    job = make_job()
    rewards = [float(step) for step in range(1000)]
    rewards[501] = 9000.0
    add_steps(job, rewards)
    # 250 stored buckets of four steps each, the odd sizes rounded up at the end.
    assert rollup_steps(Run.objects.get(job=job)) == 250 + 63 + 16 + 4 + 1 + 1
    series = job_series(job)
    assert (series["size"], len(series["step"])) == (4, 250)
    assert (series["step"][0], series["train_reward"][0]) == (3, 3.0)
    assert (series["step"][-1], series["train_reward"][-1]) == (999, 999.0)
    lows, highs = series["bands"]["train_reward"]
    assert (lows[125], series["train_reward"][125], highs[125]) == (500.0, 503.0, 9000.0)
    assert series["validation_reward"][0] is None


def test_a_part_of_the_steps_is_seen_step_by_step(make_job) -> None:
    job = make_job()
    add_steps(job, [float(step) for step in range(1000)])
    series = job_series(job, first=100, last=200)
    assert (series["size"], series["step"][0], series["step"][-1]) == (1, 100, 200)
    assert series["bands"] == {}


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
    newest = job_history(job, limit=2)
    assert [line.event.code for line in newest.lines] == ["succeeded", "step"]
    assert newest.after == newest.lines[-1].event.pk
    below = job_history(job, after=newest.after, limit=1)
    assert [line.event.text for line in below.lines] == ["Step 0 of 1, validation reward 0.250."]


def test_equal_neighbours_are_one_line_wherever_a_page_ends(make_job) -> None:
    job = make_job()
    texts = ["begun", *["timed out"] * 14, "done", "timed out", "done"]
    JobEvent.objects.bulk_create(JobEvent(job=job, text=text) for text in texts)
    whole = job_history(job)
    found = [(line.event.text, line.n) for line in whole.lines]
    assert found == [
        ("done", 1), ("timed out", 1), ("done", 1), ("timed out", 14), ("begun", 1),
    ]  # fmt: skip
    oldest = JobEvent.objects.filter(job=job, text="timed out").order_by("pk")[0]
    assert whole.lines[3].since == oldest.created_at
    assert whole.after is None
    pages, after = [], None
    for _ in range(5):
        page = job_history(job, after=after, limit=1)
        pages += [(line.event.text, line.n) for line in page.lines]
        after = page.after
    assert (pages, after) == (found, None)


def test_events_of_another_level_are_not_folded_together_and_text_is_searched(make_job) -> None:
    job = make_job()
    JobEvent.objects.bulk_create(
        JobEvent(job=job, text="slow", level=level) for level in ("info", "warn", "warn")
    )
    JobEvent.objects.create(job=job, text="50% done_")
    lines = job_history(job, text="SLOW").lines
    assert [(line.event.level, line.n) for line in lines] == [("warn", 2), ("info", 1)]
    assert [line.n for line in job_history(job, level="warn").lines] == [2]
    assert len(job_history(job, text="50% done_").lines) == 1
    assert job_history(job, text="5_%").lines == []


def test_checkpoints_are_best_first_and_those_on_disk(make_job, fake_engine) -> None:
    job = make_job(steps=4)
    supervise(Run.objects.get(job=job).pk)
    assert [row.step for row in job_checkpoints(job)] == [4, 3]


def test_jobs_that_need_somebody_come_first(make_job, organisation) -> None:
    queued, paused = make_job(), make_job()
    Job.objects.filter(pk=paused.pk).update(status="paused")
    newest = make_job()
    assert [job.pk for job in job_list(organisation)] == [paused.pk, newest.pk, queued.pk]
    assert [job.pk for job in job_list(organisation, JobFilters(status="paused"))] == [paused.pk]


def test_the_place_in_the_queue_counts_earlier_jobs(make_job) -> None:
    first, second = make_job(), make_job()
    places = [queue_of(first), queue_of(second)]
    assert [each.place for each in places if each] == [1, 2]
    assert places[1] is not None
    assert places[1].ahead == [(first.pk, first.name)]
    assert (places[1].at_work, places[1].others_ahead) == (0, 0)


def test_the_time_left_is_the_mean_step_time_for_each_step_left(make_job) -> None:
    job = make_job(steps=10)
    add_steps(job, [0.1, 0.2, 0.3])
    job.last_step = 2
    assert time_left(job, step_seconds(JobStep.objects.order_by("step"))) == TimeLeft(16.0)


def test_the_range_of_the_time_left_grows_with_the_spread_and_the_steps_left(make_job) -> None:
    job = make_job(steps=10)
    job.last_step = 6
    assert time_left(job, [2.0, 2.0, 2.0]) == TimeLeft(8.0, 8.0, 8.0)
    left = time_left(job, [1.0, 2.0, 3.0])
    assert left is not None
    assert left.low == 0.0
    assert left.middle == 8.0
    assert left.high == pytest.approx(8.0 + 4.303 * (4 + 16 / 3) ** 0.5)
    assert time_left(job, []) is None
    job.last_step = 10
    assert time_left(job, [1.0, 2.0, 3.0]) is None


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
