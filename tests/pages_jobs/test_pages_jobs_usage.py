"""Usage: each sum is the sum of its rows; storage; the doctor's findings; keys on job addresses."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import story
from django.core.cache import cache
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from hone.accounts.models import Organisation, User
from hone.accounts.services.keys import key_create
from jobs.doctor import Finding
from jobs.models import Checkpoint, Job, Run, Trajectory, Usage
from jobs.selectors.usage import by_job, by_month, storage_kept, total, usage_taken
from jobs.services import system_look
from jobs.services.lease import Lease


@pytest.fixture(autouse=True)
def _nothing_is_remembered() -> None:
    cache.clear()


def keyed(user: User, organisation: Organisation) -> Client:
    _, plain = key_create(acting_user=user, organisation=organisation, name="ci", days=30)
    return Client(headers={"Authorization": f"Bearer {plain}"})


def test_the_sum_of_all_is_the_sum_of_each_group(running: Job, organisation: Organisation) -> None:
    Usage.objects.filter(step=2).update(judge_calls=3, judge_tokens=900, judge_cost=0.25)
    taken = usage_taken(organisation)
    rows = list(Usage.objects.all())
    sums = total(taken)
    assert sums.steps == len(rows) == 5
    assert sums.seconds == pytest.approx(sum(row.seconds for row in rows))
    assert (sums.judge_calls, sums.judge_tokens, sums.judge_cost) == (3, 900, 0.25)
    assert [line.sums for line in by_month(taken)] == [sums]
    assert [(line.key, line.sums) for line in by_job(taken)] == [(running.pk, sums)]


def test_a_judge_without_a_price_costs_unknown_and_none_costs_nothing(
    running: Job, owner: Client, organisation: Organisation
) -> None:
    assert total(usage_taken(organisation)).cost == 0.0
    Usage.objects.filter(step=2).update(judge_tokens=900)
    assert total(usage_taken(organisation)).cost is None
    assert "no judge has a price" in owner.get("/settings/usage/").content.decode()


def test_a_run_counts_in_its_month_for_twelve_months(
    running: Job, organisation: Organisation
) -> None:
    at = timezone.now().replace(year=2026, month=3, day=31)
    Run.objects.update(created_at=at.replace(year=2025, month=4, day=1))
    assert [each.month for each in usage_taken(organisation, now=at)] == ["2025-04"]
    Run.objects.update(created_at=at.replace(year=2025, month=3, day=31))
    assert usage_taken(organisation, now=at) == []


def test_each_sum_opens_to_its_rows(running: Job, owner: Client, alice: User) -> None:
    page = owner.get("/settings/usage/").content.decode()
    month = f"{timezone.now():%Y-%m}"
    assert f'href="?month={month}"' in page
    assert f'href="?person={alice.pk}"' in page
    assert f"/settings/usage/{running.pk}/" in page
    narrowed = owner.get(f"/settings/usage/?month={month}&person={alice.pk}").content.decode()
    assert f"/settings/usage/{running.pk}/" in narrowed
    assert "Nothing ran here." in owner.get("/settings/usage/?month=2020-01").content.decode()
    run = Run.objects.get(job=running)
    steps = owner.get(f"/settings/usage/{running.pk}/?run={run.pk}").content.decode()
    assert re.findall(r'\?step=(\d)"', steps) == list("01234")


def test_the_steps_of_a_long_run_come_fifty_at_a_time(running: Job, owner: Client) -> None:
    run = Run.objects.get(job=running)
    Usage.objects.bulk_create(Usage(run=run, step=step) for step in range(5, 120))
    page = owner.get(f"/settings/usage/{running.pk}/?run={run.pk}").content.decode()
    assert f'href="?run={run.pk}&amp;after=49"' in page
    last = owner.get(f"/settings/usage/{running.pk}/?run={run.pk}&after=99").content.decode()
    assert "after=" not in last
    assert last.count("?step=") == 20


def test_the_quota_warns_from_eighty_percent_on(running: Job, owner: Client, settings: Any) -> None:
    hours = sum(Usage.objects.values_list("seconds", flat=True)) / 3600
    settings.QUOTA_HOURS = hours / 0.79
    page = owner.get("/settings/usage/").content.decode()
    assert "79" in page
    assert "Nothing is stopped" not in page
    settings.QUOTA_HOURS = hours / 0.81
    assert "Nothing is stopped" in owner.get("/settings/usage/").content.decode()


def test_usage_asks_as_often_for_many_jobs_as_for_one(
    running: Job, owner: Client, alice: User, organisation: Organisation, files: Path
) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as asked:
            assert owner.get("/settings/usage/").status_code == 200
        return len(asked)

    once = queries()
    made = {"version": running.train_version, "grader": running.grader_version}
    for number in range(5):
        other = story.job_make(alice, organisation, files / "model", name=f"j{number}", **made)
        run = Run.objects.get(job=other)
        Usage.objects.create(run=run, step=0, seconds=60)
    assert queries() == once <= 12


def test_storage_is_what_the_rows_say_and_grows_with_a_step(
    running: Job, lease: Lease, organisation: Organisation
) -> None:
    def bodies() -> int:
        return sum(Trajectory.objects.values_list("length", flat=True))

    kept = storage_kept(organisation)
    on_disk = Checkpoint.objects.filter(available=True).values_list("bytes", flat=True)
    assert kept.trajectories == bodies() > 0
    assert kept.checkpoints == sum(on_disk) > 0
    assert kept.by_job == [(running.pk, running.name, kept.checkpoints + kept.trajectories)]
    with CaptureQueriesContext(connection) as asked:
        assert storage_kept(organisation) == kept
    assert not any("jobs_trajectory" in each["sql"] and "SUM" in each["sql"] for each in asked)
    story.steps_commit(running, lease, 5, 5)
    grown = storage_kept(organisation).trajectories
    assert grown == bodies() > kept.trajectories
    Trajectory.objects.update(length=0)
    story.steps_commit(running, lease, 6, 6)
    assert storage_kept(organisation).trajectories == grown + bodies() > grown


def test_a_stranger_sees_no_usage_of_others(running: Job, stranger: Client) -> None:
    assert "Nothing has run yet." in stranger.get("/settings/usage/").content.decode()
    assert stranger.get(f"/settings/usage/{running.pk}/").status_code == 404
    assert running.name not in stranger.get("/settings/usage/storage/").content.decode()


def test_a_run_of_another_job_is_absent(
    running: Job, owner: Client, alice: User, organisation: Organisation, files: Path
) -> None:
    made = {"version": running.train_version, "grader": running.grader_version}
    other = story.job_make(alice, organisation, files / "model", name="other", **made)
    run = Run.objects.get(job=other)
    assert owner.get(f"/settings/usage/{running.pk}/?run={run.pk}").status_code == 404


def test_a_key_reads_a_jobs_data_as_its_person(
    running: Job, alice: User, charlie: User, organisation: Organisation
) -> None:
    row = Trajectory.objects.filter(run__job=running)[0]
    base = f"/jobs/{running.pk}"
    program = keyed(alice, organisation)
    assert program.get(f"{base}/series.json").json()["charts"]
    assert program.get(f"{base}/steps.csv").content.startswith(b"step,")
    body = program.get(f"{base}/trajectories/{row.pk}/raw.json")
    assert json.loads(body.content)["uid"] == row.uid
    theirs = keyed(charlie, charlie.organisations.get())
    for path in ("series.json", "steps.csv", f"trajectories/{row.pk}/raw.json", "adapter.zip"):
        assert theirs.get(f"{base}/{path}").status_code == 404


def test_a_download_that_is_not_there_is_told_to_a_program_in_json(
    running: Job, alice: User, organisation: Organisation
) -> None:
    answer = keyed(alice, organisation).get(f"/jobs/{running.pk}/checkpoints/4/download/")
    assert answer.status_code == 409
    assert answer.json()["error"]["message"]


def test_the_operator_reads_the_last_findings_with_their_time(
    owner: Client, alice: User, settings: Any, tmp_path: Path
) -> None:
    settings.DATA_DIR = tmp_path
    alice.is_operator = True
    alice.save()
    assert "Nobody has looked yet." in owner.get("/settings/system/").content.decode()
    found = [Finding("broker", "problem", "redis does not answer", "Start it.")]
    system_look.look_keep(tmp_path / "doctor.json", found)
    page = owner.get("/settings/system/").content.decode()
    assert "1 problem." in page
    assert "redis does not answer" in page
    assert "just now" in page
    (tmp_path / "doctor.json").write_text("{")
    assert "Nobody has looked yet." in owner.get("/settings/system/").content.decode()


def test_one_look_at_a_time_and_a_lost_one_does_not_block_for_ever(
    settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.DATA_DIR = tmp_path
    begun: list[Path] = []
    monkeypatch.setattr(system_look, "_look", lambda file, mark: begun.append(file))
    assert system_look.look_start()
    assert not system_look.look_start()
    assert system_look.looking_since() is not None
    monkeypatch.setattr(system_look.time, "time", lambda: 4e9)
    assert system_look.looking_since() is None
    assert system_look.look_start()
    assert len(begun) == 2
