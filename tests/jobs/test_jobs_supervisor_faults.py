"""What the supervisor makes of its own troubles: it waits, pauses or fails with the true cause."""

from __future__ import annotations

import errno
import shutil
import signal
from typing import Any

import pytest
from django.core.files.storage import default_storage
from django.db import OperationalError

from jobs.engine.spec import Control
from jobs.models import Checkpoint, Job, JobEvent, JobStep, Run, run_folder
from jobs.services import probe
from jobs.services.control import job_resume
from jobs.services.lease import run_acquire
from jobs.services.sweep import sweep
from jobs.supervisor import supervise as module
from jobs.supervisor.handshake import handshake_build
from jobs.supervisor.process import EngineProcess
from jobs.supervisor.supervise import supervise
from tests.jobs.storage import Elsewhere

pytestmark = pytest.mark.django_db(transaction=True)


def work(job: Job) -> str:
    return supervise(Run.objects.get(job=job).pk)


def after(job: Job) -> tuple[str, str, list[int]]:
    """The job's status, why it is paused, and its steps in the order in which they were made."""
    steps = JobStep.objects.filter(run__job=job).order_by("pk").values_list("step", flat=True)
    run = Run.objects.get(job=job)
    return run.status, run.pause_reason, list(steps)


def test_an_engine_that_another_thread_killed_is_told_nothing(
    make_job, fake_engine, tmp_path
) -> None:
    lease = run_acquire(Run.objects.get(job=make_job(steps=2)).pk, holder="test", host="here")
    assert lease is not None
    engine = EngineProcess(handshake_build(lease), tmp_path / "engine.log")
    assert engine.kill() == -signal.SIGKILL
    engine.send(Control(desired="pause"))


def test_a_storage_that_is_away_for_a_moment_costs_nothing(
    make_job, fake_engine, elsewhere
) -> None:
    job = make_job(steps=2)
    Elsewhere.refused = 3
    assert work(job) == "ended"
    assert after(job) == ("succeeded", "", [0, 1, 2])
    assert Run.objects.get(job=job).infra_attempts == 0


@pytest.mark.slow
def test_a_storage_that_stays_away_pauses_the_job_until_it_answers(
    make_job, fake_engine, elsewhere, monkeypatch
) -> None:
    monkeypatch.setenv("HONE_LEASE_S", "0.9")
    monkeypatch.setenv("HONE_PROBE_S", "0")
    job = make_job(steps=2)
    Elsewhere.refused = 10**6
    assert work(job) == "ended"
    assert after(job) == ("paused", "storage_unavailable", [])
    assert Run.objects.get(job=job).pause_text.startswith(
        "The file storage does not answer (ConnectionError: Connection reset by peer). The job "
        "goes on by itself once it does"
    )
    assert sweep().woken == 0
    Elsewhere.refused = 0
    assert sweep().woken == 1
    assert work(job) == "ended"
    assert after(job) == ("succeeded", "", [0, 1, 2])


def test_stored_checkpoints_that_no_longer_count_are_deleted(
    make_job, fake_engine, elsewhere
) -> None:
    job = make_job(steps=5)
    work(job)
    run = Run.objects.get(job=job)
    assert sorted(name for name in elsewhere.files if name.endswith("MANIFEST.json")) == [
        f"runs/{run.pk}/adapter/MANIFEST.json",
        f"runs/{run.pk}/checkpoints/step-000004/MANIFEST.json",
        f"runs/{run.pk}/checkpoints/step-000005/MANIFEST.json",
    ]
    assert [row.step for row in Checkpoint.objects.filter(run=run, available=True)] == [4, 5]


@pytest.mark.slow
def test_a_fetch_that_breaks_off_leaves_no_half_checkpoint(
    make_job, fake_engine, elsewhere, monkeypatch
) -> None:
    fake_engine(pause_at=2)
    monkeypatch.setenv("HONE_PROBE_S", "0")
    job = make_job(steps=3)
    work(job)
    folder = run_folder(Run.objects.get(job=job).pk) / "checkpoints"
    shutil.rmtree(folder)
    opened = default_storage.open

    def breaks(name: str, mode: str = "rb") -> Any:
        if name.endswith("state.json"):
            raise ConnectionError("Connection reset by peer")
        return opened(name, mode)

    sweep()
    with monkeypatch.context() as broken:
        broken.setattr(Elsewhere, "open", staticmethod(breaks))
        assert work(job) == "ended"
    assert after(job)[:2] == ("paused", "storage_unavailable")
    assert not list(folder.glob("step-*"))
    sweep()
    assert work(job) == "ended"
    assert after(job) == ("succeeded", "", [0, 1, 2, 3])


def test_an_error_of_the_worker_is_noted_each_time_and_named_in_the_end(
    make_job, fake_engine
) -> None:
    job = make_job()
    folder = run_folder(Run.objects.get(job=job).pk)
    folder.parent.mkdir(parents=True)
    folder.write_text("a file where the run's folder should be")
    assert [work(job) for _ in range(4)] == ["died", "died", "ended", "not acquired"]
    job.refresh_from_db()
    cause = f"FileExistsError: [Errno 17] File exists: '{folder}'"
    assert (job.status, job.error_code) == ("failed", "crash_loop")
    assert job.error_message.startswith(
        f"Step 0 was begun 3 times and never finished: {cause}. The last lines"
    )
    noted = JobEvent.objects.filter(job=job, code="worker_died").values_list("text", flat=True)
    assert set(noted) == {f"The worker failed in step 0 ({cause}). It starts again."}
    assert len(noted) == 2


def test_settings_that_this_version_does_not_know_fail_the_job_at_once(
    make_job, fake_engine
) -> None:
    job = make_job()
    job.spec["engine"]["old_option"] = 1
    job.save()
    assert work(job) == "ended"
    job.refresh_from_db()
    assert (job.status, job.error_code) == ("failed", "spec_invalid")
    assert "Unexpected keyword argument 'old_option'. Clone the job." in job.error_message


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_of_the_worker_pauses_until_there_is_room(
    make_job, fake_engine, monkeypatch, code: int
) -> None:
    monkeypatch.setenv("HONE_PROBE_S", "0")
    job = make_job(steps=1)

    def full(lease: object) -> None:
        raise OSError(code, "No room")

    with monkeypatch.context() as without_room:
        without_room.setattr(module, "handshake_build", full)
        without_room.setattr(probe, "ROOM_BYTES", 2**62)
        assert work(job) == "ended"
        assert after(job)[:2] == ("paused", "disk_full")
        assert sweep().woken == 0
    assert sweep().woken == 1
    assert work(job) == "ended"
    assert after(job) == ("succeeded", "", [0, 1])


def test_room_that_cannot_be_measured_wakes_nobody(
    make_job, fake_engine, monkeypatch, settings, tmp_path
) -> None:
    monkeypatch.setenv("HONE_PROBE_S", "0")
    fake_engine(disk_full_at=1)
    job = make_job(steps=1)
    work(job)
    settings.MEDIA_ROOT = tmp_path / "unmounted"
    assert sweep().woken == 0


def test_a_database_that_is_away_for_a_moment_is_no_death(
    make_job, fake_engine, monkeypatch
) -> None:
    job = make_job(steps=1)

    def away(lease: object) -> None:
        raise OperationalError("server closed the connection unexpectedly")

    with monkeypatch.context() as hiccup:
        hiccup.setattr(module, "handshake_build", away)
        assert work(job) == "released"
    assert Run.objects.get(job=job).deaths == 0
    assert work(job) == "ended"
    assert after(job) == ("succeeded", "", [0, 1])


def test_a_job_whose_checkpoint_is_gone_waits_and_goes_on_once_it_is_restored(
    make_job, fake_engine, alice, tmp_path
) -> None:
    fake_engine(pause_at=2)
    job = make_job(steps=3)
    work(job)
    folder = run_folder(Run.objects.get(job=job).pk) / "checkpoints" / "step-000001"
    backup = shutil.move(folder, tmp_path / "backup")
    job_resume(acting_user=alice, job=job)
    assert work(job) == "ended"
    assert after(job) == ("paused", "files_missing", [0, 1])
    event = JobEvent.objects.filter(job=job).latest("pk")
    assert (event.level, event.code, event.text) == (
        "warn",
        "files_missing",
        f"The checkpoint of step 1 is not at {folder}, so the job cannot go on. Restore the files "
        "of the run from a backup and resume the job, or clone it.",
    )
    shutil.move(backup, folder)
    job_resume(acting_user=alice, job=job)
    assert work(job) == "ended"
    assert after(job) == ("succeeded", "", [0, 1, 2, 3])
