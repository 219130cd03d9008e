"""Preflights on a fake engine: who begins one, what is tried again after a death or an outage, and
how it ends."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import PermissionDenied
from django.http import Http404

from graders.services.authoring import grader_create
from hone.accounts.models import AuditEntry, Organisation, User
from hone.core.errors import UserError
from jobs.errors import JobRefused
from jobs.models import (
    BaseModel,
    Checkpoint,
    Job,
    JobEvent,
    JobStep,
    Preflight,
    Run,
    Trajectory,
    Usage,
    run_folder,
)
from jobs.services import bell
from jobs.services.control import job_cancel, job_pause, job_resume
from jobs.services.create import job_create
from jobs.services.preflights import preflight_create
from jobs.services.request import JobRequest
from jobs.services.sweep import sweep
from jobs.supervisor.supervise import supervise
from jobs.workbench.preflight_report import preflight_report
from tests.jobs.conftest import EXACT, Fake, make_dataset, task

pytestmark = pytest.mark.django_db(transaction=True)

ROWS = 30


@pytest.fixture
def request_made(
    organisation: Organisation, alice: User, base_model: BaseModel, fake_engine: Fake
) -> JobRequest:
    grader = grader_create(
        acting_user=alice, organisation=organisation, name="exact", spec=EXACT
    ).versions.get()
    version = make_dataset(organisation, alice, [task(number) for number in range(ROWS)])
    return JobRequest(
        base_model=base_model.pk,
        train_version=version.pk,
        validation_share=0.4,
        grader_version=grader.pk,
        hyperparameters={"batch_size": 2, "steps": 5, "group_size": 4},
    )


def begin(user: User, organisation: Organisation, request: JobRequest, **more: Any) -> Job:
    fields = {"tasks": 5, "attempts": 3} | more
    return preflight_create(acting_user=user, organisation=organisation, request=request, **fields)


def work(job: Job) -> str:
    outcome = supervise(Run.objects.get(job=job).pk)
    job.refresh_from_db()
    return outcome


def test_it_freezes_what_a_job_freezes_and_rings(
    alice: User, organisation: Organisation, request_made: JobRequest, monkeypatch: Any
) -> None:
    rung: list[object] = []
    monkeypatch.setattr(bell, "send", lambda _task, run_id: rung.append(run_id))
    job = begin(alice, organisation, request_made)
    run = Run.objects.get(job=job)
    assert job.pk.startswith("preflight-")
    assert (job.purpose, run.kind, run.total_steps, rung) == ("preflight", "preflight", 3, [run.pk])
    assert job.spec["engine"]["groups_per_step"] == 2
    assert job.spec["grader"]["name"] == "exact v1"
    preflight = Preflight.objects.get()
    assert (len(preflight.rows), preflight.attempts) == (5, 3)
    assert preflight.rows == sorted(set(preflight.rows) & set(job.spec["train"]["split_rows"]))
    entry = AuditEntry.objects.get(action="preflight.create")
    assert (entry.actor, entry.target) == (alice, job.pk)
    assert entry.detail == {"name": job.name, "tasks": 5, "attempts": 3}


def test_a_short_file_is_tried_whole(
    alice: User, organisation: Organisation, request_made: JobRequest
) -> None:
    begin(alice, organisation, request_made, tasks=100)
    assert len(Preflight.objects.get().rows) == 18


@pytest.mark.parametrize(("name", "refusal"), [("dora", PermissionDenied), ("charlie", Http404)])
def test_whoever_may_not_write_begins_none(
    organisation: Organisation, request_made: JobRequest, request: Any, name: str, refusal: Any
) -> None:
    with pytest.raises(refusal):
        begin(request.getfixturevalue(name), organisation, request_made)
    assert not Job.objects.exists()


def test_what_a_job_is_refused_for_a_preflight_is_refused_for(
    alice: User, organisation: Organisation
) -> None:
    nothing = JobRequest(base_model=None, train_version=None, grader_version=None)
    with pytest.raises(JobRefused, match="Choose a base model"):
        begin(alice, organisation, nothing)
    assert not Job.objects.exists()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"tasks": 1}, "A preflight of 1 tasks was asked for; choose 2 to 128."),
        ({"attempts": 33}, "A preflight of 33 attempts was asked for; choose 2 to 32."),
    ],
)
def test_more_than_fits_is_refused(
    alice: User, organisation: Organisation, request_made: JobRequest, more: Any, said: str
) -> None:
    with pytest.raises(UserError, match=said):
        begin(alice, organisation, request_made, **more)
    assert not Job.objects.exists()


def test_it_runs_to_its_end_and_keeps_every_attempt(
    alice: User, organisation: Organisation, request_made: JobRequest
) -> None:
    job = begin(alice, organisation, request_made)
    assert work(job) == "ended"
    assert (job.status, job.last_step, job.best_reward) == ("succeeded", 2, None)
    assert Trajectory.objects.filter(run__job=job, split="preflight").count() == 15
    assert Usage.objects.filter(run__job=job).count() == 3
    assert not Checkpoint.objects.exists()
    assert Preflight.objects.get().verdict == "Ready"
    said = list(JobEvent.objects.filter(job=job).order_by("pk").values_list("text", flat=True))
    assert said[0] == "Preflight created and queued."
    assert said[-1] == "The preflight succeeded."
    report = preflight_report(job)
    assert (report.tasks_done, report.tasks_wanted, report.figures.attempts) == (5, 5, 15)
    assert str(report.figures.signal) == "5 of 5"


def test_a_death_costs_the_slice_in_hand_alone(
    alice: User, organisation: Organisation, request_made: JobRequest, fake_engine: Fake
) -> None:
    fake_engine(crash_at=1)
    job = begin(alice, organisation, request_made)
    assert work(job) == "died"
    first = list(Trajectory.objects.filter(run__job=job).values_list("pk", flat=True))
    assert len(first) == 6
    assert work(job) == "ended"
    assert job.status == "succeeded"
    rows = Trajectory.objects.filter(run__job=job)
    assert set(first) < set(rows.values_list("pk", flat=True))
    assert sorted(set(rows.values_list("row", flat=True))) == Preflight.objects.get().rows
    assert rows.count() == 15


def test_an_outage_pauses_it_with_the_lost_slice_kept_and_that_slice_is_tried_again(
    alice: User, organisation: Organisation, request_made: JobRequest, fake_engine: Fake
) -> None:
    fake_engine(lost_at=[1])
    job = begin(alice, organisation, request_made)
    work(job)
    assert (job.status, Run.objects.get(job=job).pause_reason) == ("paused", "tool_unavailable")
    assert Preflight.objects.get().verdict == "Fix the tool"
    report = preflight_report(job)
    assert str(report.figures.tool_faults) == "6 of 12"
    job_resume(acting_user=alice, job=job)
    work(job)
    assert job.status == "succeeded"
    report = preflight_report(job)
    assert (report.figures.attempts, report.figures.tool_faults.count) == (15, 0)
    assert report.verdict is not None
    assert report.verdict.kind == "ready"
    assert list(JobStep.objects.filter(run__job=job).values_list("step", flat=True)) == [0, 1, 2, 3]


def test_the_sweeper_wakes_it_when_the_tool_answers(
    alice: User,
    organisation: Organisation,
    request_made: JobRequest,
    fake_engine: Fake,
    monkeypatch: Any,
) -> None:
    monkeypatch.setenv("HONE_PROBE_S", "0")
    fake_engine(lost_at=[0])
    job = begin(alice, organisation, request_made)
    work(job)
    assert sweep().woken == 1
    job.refresh_from_db()
    assert job.status == "queued"


def test_a_tool_that_goes_away_three_times_ends_it_with_what_was_found(
    alice: User, organisation: Organisation, request_made: JobRequest, fake_engine: Fake
) -> None:
    fake_engine(lost_at=[1, 2, 3])
    job = begin(alice, organisation, request_made)
    for _ in range(2):
        work(job)
        assert job.status == "paused"
        job_resume(acting_user=alice, job=job)
    work(job)
    assert job.status == "succeeded"
    report = preflight_report(job)
    assert report.verdict is not None
    assert (report.verdict.kind, report.tasks_done) == ("fix_tool", 4)


@pytest.mark.parametrize(("act", "status"), [(job_pause, "paused"), (job_cancel, "cancelled")])
def test_it_is_paused_and_cancelled_as_a_job_is(
    alice: User, organisation: Organisation, request_made: JobRequest, act: Any, status: str
) -> None:
    job = begin(alice, organisation, request_made)
    act(acting_user=alice, job=job)
    job.refresh_from_db()
    assert job.status == Run.objects.get(job=job).status == status
    assert JobEvent.objects.filter(job=job, text=f"The preflight was {status}.").exists()


def test_its_files_lie_where_those_of_runs_lie(
    alice: User, organisation: Organisation, request_made: JobRequest
) -> None:
    job = begin(alice, organisation, request_made)
    work(job)
    folder: Path = run_folder(Run.objects.get(job=job).pk)
    assert (folder / "engine.log").is_file()


def test_a_job_records_the_preflight_of_what_it_is_made_from(
    organisation: Organisation, alice: User, request_made: JobRequest
) -> None:
    before = job_create(acting_user=alice, organisation=organisation, request=request_made)
    assert before.spec["preflight"] is None
    tried = begin(alice, organisation, request_made)
    assert supervise(Run.objects.get(job=tried).pk) == "ended"
    job = job_create(acting_user=alice, organisation=organisation, request=request_made)
    verdict = Preflight.objects.get(job=tried).verdict
    assert verdict
    assert job.spec["preflight"] == {"id": tried.pk, "verdict": verdict}
    other = make_dataset(organisation, alice, [task(number) for number in range(ROWS + 1)])
    changed = replace(request_made, train_version=other.pk)
    elsewhere = job_create(acting_user=alice, organisation=organisation, request=changed)
    assert elsewhere.spec["preflight"] is None
