"""`kill -9` of engine, worker or both at random moments: each step exists exactly once."""

from __future__ import annotations

import random
import signal
import time

import pytest

from jobs.models import Job, JobStep, Run, Trajectory, Usage
from jobs.services.bell import ring
from jobs.supervisor.process import process_start
from tests.jobs.processes import Programs, kill_group, state

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]

STEPS = 5


def check_exactly_once(job: Job) -> None:
    job.refresh_from_db()
    assert job.status == "succeeded", job.error_message
    rows = JobStep.objects.filter(run__job=job).order_by("pk").values_list("step", "epoch")
    assert [step for step, _ in rows] == list(range(STEPS + 1))
    epochs = [epoch for _, epoch in rows]
    assert epochs == sorted(epochs)
    assert Trajectory.objects.filter(run__job=job).count() == 4 * (STEPS + 1)
    assert sum(Usage.objects.filter(run__job=job).values_list("sampled_tokens", flat=True)) == 24


@pytest.mark.parametrize("seed", range(20))
def test_no_step_is_lost_or_counted_twice(
    make_job, fake_engine, programs: Programs, seed: int
) -> None:
    fake_engine(step_s=0.15)
    job = make_job(steps=STEPS)
    run = Run.objects.get(job=job)
    dice = random.Random(seed)
    worker = programs.plain_worker(run)
    for _ in range(2):
        reached = dice.randint(-1, STEPS - 2)
        programs.wait_for(lambda: state(run).pgid is not None, 30)
        programs.wait_for(lambda at=reached: state(run).last_step >= at, 30)
        time.sleep(dice.uniform(0, 0.3))
        victim = dice.choice(["engine", "worker", "both"])
        if victim != "worker":
            kill_group(state(run).pgid)
        if victim != "engine":
            programs.kill(worker)
            worker = programs.plain_worker(run)
    programs.wait_for(lambda: state(run).is_final, 60)
    check_exactly_once(job)


def test_a_real_worker_killed_and_replaced_finishes_the_job(
    make_job, fake_engine, programs: Programs, monkeypatch
) -> None:
    monkeypatch.setenv("HONE_SWEEP_S", "0.3")
    fake_engine(step_s=0.3)
    job = make_job(steps=STEPS)
    run = Run.objects.get(job=job)
    sweeper = programs.sweeper()
    worker = programs.celery_worker()
    programs.wait_for(lambda: state(run).last_step >= 1, 60)
    engine = state(run).pgid
    programs.kill(worker)
    programs.wait_for(lambda: process_start(engine or 0) == "", 10)
    programs.celery_worker()
    programs.wait_for(lambda: state(run).is_final, 60)
    check_exactly_once(job)
    assert sweeper.poll() is None


def test_a_worker_that_is_asked_to_end_lets_another_go_on_at_once(
    make_job, fake_engine, programs: Programs, monkeypatch
) -> None:
    monkeypatch.setenv("HONE_SWEEP_S", "0.3")
    monkeypatch.setenv("HONE_LEASE_S", "60")
    fake_engine(step_s=0.3)
    job = make_job(steps=STEPS)
    run = Run.objects.get(job=job)
    programs.sweeper()
    worker = programs.celery_worker()
    programs.wait_for(lambda: state(run).last_step >= 1, 60)
    worker.send_signal(signal.SIGTERM)
    worker.wait(15)
    assert (state(run).status, state(run).lease_until, state(run).deaths) == ("running", None, 0)
    programs.celery_worker()
    programs.wait_for(lambda: state(run).is_final, 30)
    check_exactly_once(job)


def test_ten_doorbells_start_one_engine(make_job, fake_engine, programs: Programs) -> None:
    fake_engine(step_s=0.05)
    job = make_job(steps=STEPS)
    run = Run.objects.get(job=job)
    workers = [programs.plain_worker(run) for _ in range(3)]
    for _ in range(10):
        ring(run.pk)
    programs.wait_for(lambda: state(run).is_final, 60)
    check_exactly_once(job)
    assert state(run).epoch == 1
    assert [worker.wait(15) for worker in workers] == [0, 0, 0]
