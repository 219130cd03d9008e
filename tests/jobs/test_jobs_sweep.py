"""The sweeper: who is rung for, how often, and what neither delays nor ends it."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hone.celery import app
from jobs.management.commands.sweep import look
from jobs.models import Job, JobEvent, Run
from jobs.services import sweep as module
from jobs.services.bell import MOST_BELLS
from jobs.services.sweep import sweep
from tests.jobs.conftest import MakeJob

pytestmark = pytest.mark.django_db(transaction=True)


class Bells:
    """The queue of the training workers, without a worker."""

    def __init__(self, connection: Any) -> None:
        self._queue = connection.SimpleQueue("train", no_ack=True)
        self._queue.clear()

    def take(self) -> list[str]:
        """The runs that are rung for, by id; the bells are gone then."""
        waiting = self._queue.qsize()
        return sorted(self._queue.get(timeout=5).payload[0][0] for _ in range(waiting))


@pytest.fixture
def bells() -> Iterator[Bells]:
    with app.connection_for_write() as connection:
        yield Bells(connection)
        Bells(connection)


def runs(*jobs: Job) -> list[str]:
    return sorted(job.runs.get().pk for job in jobs)


def test_behind_busy_workers_no_bells_pile_up(make_job: MakeJob, bells: Bells) -> None:
    first, second = make_job(), make_job()
    assert [sweep().rung for _ in range(5)] == [2, 0, 0, 0, 0]
    assert bells.take() == runs(first, second)


def test_a_lost_bell_is_rung_again_at_the_next_sweep(make_job: MakeJob, bells: Bells) -> None:
    job = make_job()
    sweep()
    assert bells.take() == runs(job)
    sweep()
    assert bells.take() == runs(job)


def test_of_many_runs_the_oldest_are_rung_for(make_job: MakeJob, bells: Bells) -> None:
    jobs = [make_job() for _ in range(MOST_BELLS + 2)]
    assert [sweep().rung for _ in range(2)] == [MOST_BELLS, 0]
    assert bells.take() == runs(*jobs[:MOST_BELLS])


@pytest.mark.slow
def test_a_broker_that_is_down_is_asked_once_a_sweep(
    make_job: MakeJob, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        make_job()
    dead = app.connection_for_write("redis://127.0.0.1:1/0")
    monkeypatch.setattr(app, "connection_for_write", lambda: dead)
    with caplog.at_level(logging.WARNING):
        assert sweep().rung == 0
    assert [record.message[:40] for record in caplog.records] == [
        "The broker did not say how many bells wa"
    ]


def paused(make_job: MakeJob, count: int) -> list[Job]:
    """Jobs that wait for something and are due to be probed."""
    jobs = [make_job(status="paused") for _ in range(count)]
    past = "2020-01-01T00:00:00Z"
    Run.objects.update(pause_reason="tool_unavailable", probe_at=past)
    return jobs


def test_runs_are_rung_for_before_anything_is_probed(
    make_job: MakeJob, bells: Bells, monkeypatch: pytest.MonkeyPatch
) -> None:
    paused(make_job, 1)
    queued = make_job()
    seen: list[list[str]] = []
    monkeypatch.setattr(module, "run_probe", lambda run: bool(seen.append(bells.take())))
    sweep()
    assert seen == [runs(queued)]


def test_probes_that_hang_hang_together(make_job: MakeJob, monkeypatch: pytest.MonkeyPatch) -> None:
    paused(make_job, 5)

    def hang(run: Run) -> bool:
        time.sleep(0.5)
        return False

    monkeypatch.setattr(module, "run_probe", hang)
    began = time.monotonic()
    assert sweep().woken == 0
    assert time.monotonic() - began < 1.5


def test_a_run_that_wakes_is_rung_for_at_once(
    make_job: MakeJob, bells: Bells, monkeypatch: pytest.MonkeyPatch
) -> None:
    (job,) = paused(make_job, 1)
    monkeypatch.setattr(module, "run_probe", lambda run: True)
    assert sweep().woken == 1
    assert bells.take() == runs(job)
    assert JobEvent.objects.get(job=job).code == "woken"


def test_a_data_folder_that_is_away_does_not_end_the_sweeper(
    settings: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings.DATA_DIR = tmp_path / "unmounted"
    look()
    assert caplog.messages[-1].startswith("The sweep broke off: [Errno 2] No such file")
    settings.DATA_DIR.mkdir()
    look()
    assert (settings.DATA_DIR / "sweeper.beat").exists()


def test_a_look_removes_what_killed_uploads_left(settings: Any, tmp_path: Path) -> None:
    settings.FILE_UPLOAD_TEMP_DIR = tmp_path
    left = tmp_path / "x.upload.jsonl"
    left.touch()
    os.utime(left, (0, 0))
    look()
    assert list(tmp_path.iterdir()) == []
