"""One live holder, no step twice: the lease and the fence."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from django.db import connections
from django.db.models.functions import Now

from jobs.engine import events
from jobs.errors import Fenced
from jobs.models import Checkpoint, Job, JobEvent, JobStep, Run, Trajectory, Usage
from jobs.services import lease as leases
from jobs.services.commit import step_commit
from jobs.services.control import job_pause, job_resume
from jobs.services.ending import run_fail, run_finish, run_pause
from tests.jobs.fake_engine import step_done

pytestmark = pytest.mark.django_db(transaction=True)


def acquire(job: Job, holder: str = "a") -> leases.Lease | None:
    return leases.run_acquire(job.runs.get().pk, holder=holder, host="here")


def held(job: Job) -> leases.Lease:
    lease = acquire(job)
    assert lease is not None
    return lease


def expire(job: Job) -> None:
    Run.objects.filter(job=job).update(lease_until=Now() - timedelta(seconds=1))


def done(tmp_path: Path, step: int) -> events.StepDone:
    return step_done(tmp_path, step, 3, 1)


def test_the_first_acquisition_starts_the_job_with_epoch_one(make_job, fake_engine) -> None:
    job = make_job()
    lease = held(job)
    assert (lease.epoch, lease.last_step, lease.deaths) == (1, -1, 0)
    job.refresh_from_db()
    assert job.status == "running"
    assert job.started_at is not None


def test_a_live_lease_cannot_be_taken(make_job, fake_engine) -> None:
    job = make_job()
    held(job)
    assert acquire(job, "b") is None


def test_an_expired_lease_is_taken_with_the_next_epoch_and_counts_as_a_death(
    make_job, fake_engine
) -> None:
    job = make_job()
    held(job)
    expire(job)
    second = held(job)
    assert (second.epoch, second.deaths) == (2, 1)


def test_a_released_lease_is_taken_at_once_and_is_no_death(make_job, fake_engine) -> None:
    job = make_job()
    assert leases.run_release(held(job))
    second = held(job)
    assert (second.epoch, second.deaths) == (2, 0)


def test_a_lost_lease_is_not_renewed(make_job, fake_engine) -> None:
    job = make_job()
    first = held(job)
    assert leases.run_renew(first) == "run"
    expire(job)
    held(job)
    assert leases.run_renew(first) is None


def test_of_eight_threads_one_wins(make_job, fake_engine) -> None:
    job = make_job()
    barrier, wins = threading.Barrier(8), []

    def race(number: int) -> None:
        barrier.wait()
        try:
            wins.append(acquire(job, f"t{number}"))
        finally:
            connections.close_all()

    threads = [threading.Thread(target=race, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(lease is not None for lease in wins) == 1
    assert Run.objects.get(job=job).epoch == 1


RACER = """
import sys
import django
django.setup()
from jobs.services.lease import run_acquire
print("ready", flush=True)
sys.stdin.readline()
print(run_acquire(sys.argv[1], holder=sys.argv[2], host="h") is not None)
"""


@pytest.mark.slow
def test_of_two_processes_one_wins(make_job, fake_engine, process_environment, monkeypatch) -> None:
    # However slowly the second one comes, the first one's lease has not run out.
    monkeypatch.setenv("HONE_LEASE_S", "600")
    job = make_job()
    run_id = job.runs.get().pk
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, run_id, name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | process_environment,
            text=True,
        )
        for name in "ab"
    ]
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("go\n")
        racer.stdin.flush()
    answers = sorted(racer.communicate()[0].strip() for racer in racers)
    assert answers == ["False", "True"]


def test_a_step_brings_all_of_its_rows(make_job, fake_engine, tmp_path: Path) -> None:
    job = make_job()
    step_commit(held(job), done(tmp_path, 0))
    job.refresh_from_db()
    assert (job.last_step, job.baseline_reward, job.best_step) == (0, 0.25, 0)
    assert Trajectory.objects.filter(run__job=job).count() == 4
    assert Usage.objects.get(run__job=job).sampled_tokens == 4
    assert Checkpoint.objects.get(run__job=job).step == 0
    assert JobEvent.objects.get(job=job).text == "Step 0 of 3, validation reward 0.250."


def test_of_equal_validation_rewards_the_latest_is_the_best_as_in_the_export(
    make_job, fake_engine, tmp_path: Path
) -> None:
    job = make_job()
    lease = held(job)
    for step, reward in enumerate((0.5, 0.5, 0.25)):
        whole = done(tmp_path, step)
        metrics = {**whole.metrics, "validation": {"reward_mean": reward}}
        step_commit(lease, msgspec.structs.replace(whole, metrics=metrics))
    job.refresh_from_db()
    assert (job.best_reward, job.best_step, job.last_reward) == (0.5, 1, 0.25)


def test_a_stale_epoch_writes_nothing(make_job, fake_engine, tmp_path: Path) -> None:
    job = make_job()
    stale = held(job)
    expire(job)
    held(job)
    with pytest.raises(Fenced):
        step_commit(stale, done(tmp_path, 0))
    with pytest.raises(Fenced):
        run_finish(stale, events.Finished(seconds=1.0))
    with pytest.raises(Fenced):
        leases.run_note_message(stale, events.Message(text="late"))
    for model in (JobStep, Trajectory, Checkpoint, Usage, JobEvent):
        assert model.objects.count() == 0
    assert Run.objects.get(job=job).last_step == -1


@pytest.mark.parametrize("step", [0, 2])
def test_a_step_that_is_not_the_next_is_refused(
    make_job, fake_engine, tmp_path: Path, step: int
) -> None:
    lease = held(make_job())
    step_commit(lease, done(tmp_path, 0))
    with pytest.raises(Fenced):
        step_commit(lease, done(tmp_path, step))
    assert JobStep.objects.count() == 1


def test_a_row_that_cannot_be_stored_takes_the_whole_step_with_it(
    make_job, fake_engine, tmp_path: Path
) -> None:
    lease = held(make_job())
    whole = done(tmp_path, 0)
    twice = events.StepDone(
        step=0,
        total_steps=3,
        metrics=whole.metrics,
        trajectories=(*whole.trajectories, whole.trajectories[0]),
        bodies=whole.bodies,
        checkpoint=whole.checkpoint,
    )
    with pytest.raises(Exception, match="UNIQUE|unique"):
        step_commit(lease, twice)
    assert JobStep.objects.count() == 0
    assert Run.objects.get().last_step == -1


def test_a_committed_step_forgives_earlier_deaths(make_job, fake_engine, tmp_path: Path) -> None:
    job = make_job()
    held(job)
    expire(job)
    lease = held(job)
    step_commit(lease, done(tmp_path, 0))
    assert Run.objects.get(job=job).deaths == 0
    assert Run.objects.get(job=job).infra_attempts == 1


def test_hostile_text_is_stored_on_any_database(make_job, fake_engine, tmp_path: Path) -> None:
    lease = held(make_job())
    leases.run_note_message(lease, events.Message(text="a\x00b", data={"k": "\x00"}))
    event = JobEvent.objects.get()
    assert (event.text, event.data) == ("a\u2400b", {"k": "\u2400"})


def test_a_failed_run_keeps_the_last_hundred_lines_of_its_log(make_job, fake_engine) -> None:
    job = make_job()
    log = "\n".join(str(number) for number in range(150))
    run_fail(held(job), code="crash_loop", text="It fell over.", log=log)
    job.refresh_from_db()
    assert (job.status, job.error_code) == ("failed", "crash_loop")
    assert job.error_log.splitlines()[0] == "50"
    assert job.finished_at is not None


def test_a_pause_that_was_taken_back_gives_the_run_back(make_job, fake_engine, alice) -> None:
    job = make_job()
    lease = held(job)
    job_pause(acting_user=alice, job=job)
    job_resume(acting_user=alice, job=job)
    run_pause(lease, reason="asked", text="Paused as asked.")
    job.refresh_from_db()
    assert (job.status, job.runs.get().holder) == ("running", "")
    taken = acquire(job, "b")
    assert taken is not None
    assert (taken.epoch, taken.deaths) == (2, 0)


def test_a_pause_that_stands_is_a_pause(make_job, fake_engine, alice) -> None:
    job = make_job()
    lease = held(job)
    job_pause(acting_user=alice, job=job)
    run_pause(lease, reason="asked", text="Paused as asked.")
    job.refresh_from_db()
    assert job.status == "paused"
    assert acquire(job, "b") is None
