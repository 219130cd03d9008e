"""`kill -9` of engine, worker or both at random moments: each step exists exactly once."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from jobs.models import Job, JobStep, Run, Trajectory, Usage
from jobs.services.bell import ring
from jobs.supervisor.process import process_start

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]

ROOT = Path(__file__).parents[2]
STEPS = 5

Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def start(process_environment, tmp_path) -> Iterator[Start]:
    """Start programs in sessions of their own; whatever is left is killed at the end."""
    started: list[subprocess.Popen[bytes]] = []

    def run(*command: str) -> subprocess.Popen[bytes]:
        environment = os.environ | process_environment | {"HONE_DATA_DIR": str(tmp_path)}
        with (tmp_path / "processes.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, *command],
                env=environment,
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        started.append(process)
        return process

    yield run
    for process in started:
        kill_group(process.pid)
        process.wait()


def kill_group(pgid: int | None) -> None:
    if pgid:
        with suppress(ProcessLookupError):
            os.killpg(pgid, signal.SIGKILL)


def wait_for(condition: Callable[[], bool], seconds: float, log: Path) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, log.read_text()[-4000:]
        time.sleep(0.05)


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
    make_job, fake_engine, start: Start, tmp_path, seed: int
) -> None:
    fake_engine(step_s=0.15)
    job = make_job(steps=STEPS)
    run = Run.objects.get(job=job)
    dice = random.Random(seed)
    log = tmp_path / "processes.log"
    worker = start("-m", "tests.jobs.plain_worker", run.pk)
    for _ in range(2):
        reached = dice.randint(-1, STEPS - 2)
        wait_for(lambda: state(run).pgid is not None, 30, log)
        wait_for(lambda at=reached: state(run).last_step >= at, 30, log)
        time.sleep(dice.uniform(0, 0.3))
        victim = dice.choice(["engine", "worker", "both"])
        if victim != "worker":
            kill_group(state(run).pgid)
        if victim != "engine":
            kill_group(worker.pid)
            worker.wait()
            worker = start("-m", "tests.jobs.plain_worker", run.pk)
    wait_for(lambda: state(run).is_final, 60, log)
    check_exactly_once(job)


def state(run: Run) -> Run:
    return Run.objects.get(pk=run.pk)


def celery_worker(start: Start) -> subprocess.Popen[bytes]:
    return start(
        *("-m", "celery", "-A", "hone", "worker", "--queues", "train", "--concurrency", "1"),
        *("--without-gossip", "--without-mingle", "--loglevel", "WARNING"),
    )


def test_a_real_worker_killed_and_replaced_finishes_the_job(
    make_job, fake_engine, start: Start, tmp_path, monkeypatch
) -> None:
    monkeypatch.setenv("HONE_SWEEP_S", "0.3")
    fake_engine(step_s=0.3)
    job = make_job(steps=STEPS)
    run, log = Run.objects.get(job=job), tmp_path / "processes.log"
    sweeper = start(str(ROOT / "manage.py"), "sweep")
    worker = celery_worker(start)
    wait_for(lambda: state(run).last_step >= 1, 60, log)
    engine = state(run).pgid
    kill_group(worker.pid)
    worker.wait()
    wait_for(lambda: process_start(engine or 0) == "", 10, log)
    celery_worker(start)
    wait_for(lambda: state(run).is_final, 60, log)
    check_exactly_once(job)
    assert sweeper.poll() is None


def test_a_worker_that_is_asked_to_end_lets_another_go_on_at_once(
    make_job, fake_engine, start: Start, tmp_path, monkeypatch
) -> None:
    monkeypatch.setenv("HONE_SWEEP_S", "0.3")
    monkeypatch.setenv("HONE_LEASE_S", "60")
    fake_engine(step_s=0.3)
    job = make_job(steps=STEPS)
    run, log = Run.objects.get(job=job), tmp_path / "processes.log"
    start(str(ROOT / "manage.py"), "sweep")
    worker = celery_worker(start)
    wait_for(lambda: state(run).last_step >= 1, 60, log)
    worker.send_signal(signal.SIGTERM)
    worker.wait(15)
    assert (state(run).status, state(run).lease_until, state(run).deaths) == ("running", None, 0)
    celery_worker(start)
    wait_for(lambda: state(run).is_final, 30, log)
    check_exactly_once(job)


def test_ten_doorbells_start_one_engine(make_job, fake_engine, start: Start, tmp_path) -> None:
    fake_engine(step_s=0.05)
    job = make_job(steps=STEPS)
    run, log = Run.objects.get(job=job), tmp_path / "processes.log"
    workers = [start("-m", "tests.jobs.plain_worker", run.pk) for _ in range(3)]
    for _ in range(10):
        ring(run.pk)
    wait_for(lambda: state(run).is_final, 60, log)
    check_exactly_once(job)
    assert state(run).epoch == 1
    assert [worker.wait(15) for worker in workers] == [0, 0, 0]
