"""The supervisor on a fake engine: normal ends, deaths, pauses and lost leases."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from datetime import timedelta

import pytest
from django.db import OperationalError
from django.db.models.functions import Now

from jobs.models import Adapter, Job, JobEvent, JobStep, Run, Trajectory
from jobs.selectors import adapter_zip, trajectory_body
from jobs.services import probe
from jobs.services.control import job_cancel, job_pause, job_resume
from jobs.services.sweep import sweep
from jobs.supervisor import heartbeat
from jobs.supervisor.process import host_identity, process_start
from jobs.supervisor.supervise import supervise

pytestmark = pytest.mark.django_db(transaction=True)


def steps_of(job: Job) -> list[int]:
    return list(JobStep.objects.filter(run__job=job).order_by("pk").values_list("step", flat=True))


def run_of(job: Job) -> Run:
    return Run.objects.get(job=job)


def in_background(job: Job, **options) -> tuple[threading.Thread, list[str]]:
    outcomes: list[str] = []
    run_id = run_of(job).pk

    def work() -> None:
        from django.db import connections

        try:
            outcomes.append(supervise(run_id, **options))
        finally:
            connections.close_all()

    thread = threading.Thread(target=work)
    thread.start()
    return thread, outcomes


def wait_for(condition, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def test_a_run_goes_to_its_end_with_each_step_once(make_job, fake_engine) -> None:
    job = make_job(steps=3)
    assert supervise(run_of(job).pk) == "ended"
    job.refresh_from_db()
    assert (job.status, job.last_step, job.total_steps) == ("succeeded", 3, 3)
    assert steps_of(job) == [0, 1, 2, 3]
    assert (job.baseline_reward, job.last_reward) == (0.25, 0.75)
    assert (job.best_reward, job.best_step, job.engine_seconds) == (0.75, 3, 2.5)
    assert Adapter.objects.get(job=job).step == 3
    assert run_of(job).lease_until is None


def test_the_body_of_one_trajectory_is_read_by_its_offset(make_job, fake_engine) -> None:
    job = make_job(steps=1)
    supervise(run_of(job).pk)
    row = Trajectory.objects.get(run__job=job, step=1, uid="s1-3")
    assert (trajectory_body(row).uid, row.flags) == ("s1-3", ["looped"])


def test_the_adapter_s_zip_holds_its_files(make_job, fake_engine, tmp_path) -> None:
    import zipfile

    job = make_job(steps=1)
    supervise(run_of(job).pk)
    job.refresh_from_db()
    (tmp_path / "a.zip").write_bytes(b"".join(adapter_zip(job.adapter)))
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert archive.namelist() == ["MANIFEST.json", "adapter_model.safetensors"]
        assert archive.read("adapter_model.safetensors") == b"weights"


def test_an_adapter_that_differs_from_its_manifest_is_not_offered(make_job, fake_engine) -> None:
    job = make_job(steps=1)
    supervise(run_of(job).pk)
    job.refresh_from_db()
    (job.adapter.folder / "adapter_model.safetensors").write_bytes(b"Weights")
    with pytest.raises(Exception, match="does not match its manifest"):
        adapter_zip(job.adapter)


def test_a_second_doorbell_costs_nothing(make_job, fake_engine) -> None:
    fake_engine(step_s=0.2)
    job = make_job(steps=3)
    thread, outcomes = in_background(job)
    wait_for(lambda: run_of(job).status == "running")
    began = time.monotonic()
    assert supervise(run_of(job).pk) == "not acquired"
    assert time.monotonic() - began < 1
    thread.join()
    assert outcomes == ["ended"]
    assert supervise(run_of(job).pk) == "not acquired"
    assert steps_of(job) == [0, 1, 2, 3]


def test_an_engine_that_always_crashes_at_one_step_fails_the_job_with_its_log(
    make_job, fake_engine
) -> None:
    fake_engine(crash_at=2)
    job = make_job(steps=4)
    assert [supervise(run_of(job).pk) for _ in range(4)] == [
        "died",
        "died",
        "ended",
        "not acquired",
    ]
    job.refresh_from_db()
    assert (job.status, job.error_code) == ("failed", "crash_loop")
    assert "Step 2 was begun 3 times" in job.error_message
    assert "the fake engine fell over" in job.error_log
    assert steps_of(job) == [0, 1]


def test_a_permanent_failure_is_not_tried_again(make_job, fake_engine) -> None:
    fake_engine(fail_at=2)
    job = make_job(steps=4)
    assert supervise(run_of(job).pk) == "ended"
    job.refresh_from_db()
    assert (job.status, job.error_code) == ("failed", "out_of_memory")


def test_pause_and_resume_lose_no_step(make_job, fake_engine, alice) -> None:
    fake_engine(step_s=0.15)
    job = make_job(steps=40)
    thread, outcomes = in_background(job)
    wait_for(lambda: run_of(job).last_step >= 1)
    job_pause(acting_user=alice, job=job)
    thread.join(10)
    assert outcomes == ["ended"]
    job.refresh_from_db()
    assert job.status == "paused"
    fake_engine(step_s=0.005)
    job_resume(acting_user=alice, job=job)
    assert supervise(run_of(job).pk) == "ended"
    assert steps_of(job) == list(range(41))


@pytest.mark.parametrize("deaf", [False, True])
@pytest.mark.slow
def test_cancel_ends_the_engine_even_if_it_does_not_listen(
    make_job, fake_engine, alice, deaf: bool
) -> None:
    fake_engine(step_s=0.2, deaf=deaf)
    job = make_job(steps=50)
    thread, outcomes = in_background(job)
    wait_for(lambda: run_of(job).last_step >= 1)
    pgid = run_of(job).pgid
    job_cancel(acting_user=alice, job=job)
    thread.join(10)
    assert outcomes == ["ended"]
    job.refresh_from_db()
    assert job.status == "cancelled"
    assert process_start(pgid) == ""


@pytest.mark.slow
def test_a_killed_engine_is_started_again_and_no_step_is_lost(make_job, fake_engine) -> None:
    fake_engine(step_s=0.2)
    job = make_job(steps=4)
    thread, outcomes = in_background(job)
    wait_for(lambda: run_of(job).last_step >= 1)
    os.killpg(run_of(job).pgid, signal.SIGKILL)
    thread.join(10)
    assert outcomes == ["died"]
    assert supervise(run_of(job).pk) == "ended"
    assert steps_of(job) == [0, 1, 2, 3, 4]
    assert JobEvent.objects.filter(job=job, code="engine_died").count() == 1


@pytest.mark.slow
def test_a_worker_that_must_end_gives_the_run_back_at_once(make_job, fake_engine) -> None:
    fake_engine(step_s=0.2)
    job = make_job(steps=4)
    stop = threading.Event()
    thread, outcomes = in_background(job, stopping=stop.is_set)
    wait_for(lambda: run_of(job).last_step >= 1)
    stop.set()
    thread.join(10)
    assert outcomes == ["released"]
    run = run_of(job)
    assert (run.status, run.holder, run.lease_until, run.deaths) == ("running", "", None, 0)
    assert supervise(run.pk) == "ended"
    assert steps_of(job) == [0, 1, 2, 3, 4]


def test_a_holder_that_cannot_renew_stops_its_engine(make_job, fake_engine, monkeypatch) -> None:
    fake_engine(step_s=30)
    job = make_job(steps=4)

    def dead(lease: object) -> str:
        raise OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(heartbeat, "run_renew", dead)
    monkeypatch.setattr(heartbeat, "run_desired", dead)
    began = time.monotonic()
    assert supervise(run_of(job).pk) == "lost"
    assert 0.9 < time.monotonic() - began < 3
    assert process_start(run_of(job).pgid) == ""


@pytest.mark.slow
def test_a_stale_holder_is_stopped_by_the_next_one(make_job, fake_engine) -> None:
    fake_engine(step_s=0.3)
    job = make_job(steps=2)
    thread, outcomes = in_background(job)
    wait_for(lambda: run_of(job).last_step >= 0)
    Run.objects.filter(job=job).update(lease_until=Now() - timedelta(seconds=1), epoch=7)
    thread.join(10)
    assert outcomes == ["lost"]
    assert supervise(run_of(job).pk) == "ended"
    assert steps_of(job) == [0, 1, 2]
    assert set(JobStep.objects.filter(run__job=job, step=2).values_list("epoch", flat=True)) == {8}


def test_a_surviving_engine_of_an_older_epoch_is_killed_first(make_job, fake_engine) -> None:
    job = make_job(steps=1)
    orphan = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"],
                              start_new_session=True)  # fmt: skip
    try:
        Run.objects.filter(job=job).update(
            status="running",
            epoch=3,
            holder="gone",
            host=host_identity(),
            pgid=orphan.pid,
            process_start=process_start(orphan.pid),
        )
        Job.objects.filter(pk=job.pk).update(status="running")
        assert supervise(run_of(job).pk) == "ended"
        assert orphan.wait(5) == -signal.SIGKILL
    finally:
        orphan.kill()


def test_a_tool_that_does_not_answer_pauses_and_the_sweeper_wakes_the_job(
    make_job, fake_engine, monkeypatch
) -> None:
    monkeypatch.setenv("HONE_PROBE_S", "0.1")
    fake_engine(pause_at=2)
    job = make_job(steps=3)
    assert supervise(run_of(job).pk) == "ended"
    job.refresh_from_db()
    run = run_of(job)
    assert (job.status, run.pause_reason, run.pause_text) == (
        "paused",
        "tool_unavailable",
        "`refund` does not answer.",
    )
    time.sleep(0.2)
    assert sweep().woken == 1
    assert supervise(run.pk) == "ended"
    job.refresh_from_db()
    assert (job.status, steps_of(job)) == ("succeeded", [0, 1, 2, 3])


def test_a_full_disk_pauses_and_the_sweeper_wakes_the_job_once_there_is_room(
    make_job, fake_engine, monkeypatch
) -> None:
    monkeypatch.setenv("HONE_PROBE_S", "0.1")
    fake_engine(disk_full_at=2)
    job = make_job(steps=3)
    assert supervise(run_of(job).pk) == "ended"
    job.refresh_from_db()
    run = run_of(job)
    assert (job.status, run.pause_reason, run.pause_text) == (
        "paused",
        "disk_full",
        "The disk of the run is full.",
    )
    with monkeypatch.context() as full:
        full.setattr(probe, "ROOM_BYTES", 2**62)
        time.sleep(0.2)
        assert sweep().woken == 0
    time.sleep(0.2)
    assert sweep().woken == 1
    assert supervise(run.pk) == "ended"
    job.refresh_from_db()
    assert (job.status, steps_of(job)) == ("succeeded", [0, 1, 2, 3])


def test_a_dataset_deleted_under_a_queued_job_fails_it_with_a_sentence(
    make_job, fake_engine
) -> None:
    job = make_job()
    Job.objects.filter(pk=job.pk).update(train_version=None)
    assert supervise(run_of(job).pk) == "ended"
    job.refresh_from_db()
    assert (job.status, job.error_code) == ("failed", "dataset_deleted")
    assert "The dataset tasks v1 was deleted" in job.error_message


def test_the_engine_s_environment_holds_no_secrets(make_job, fake_engine, monkeypatch) -> None:
    monkeypatch.setenv("SECRETS_KEYS", "id:canary")
    fake_engine(step_s=0.3)
    job = make_job(steps=2)
    thread, _ = in_background(job)
    wait_for(lambda: run_of(job).last_step >= 0)
    with open(f"/proc/{run_of(job).pgid}/environ", "rb") as file:
        assert b"canary" not in file.read()
    thread.join(10)
