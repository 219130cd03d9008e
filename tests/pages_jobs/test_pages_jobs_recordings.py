"""The tool calls of a job as a recording, and a job whose tools are answered by one."""

from __future__ import annotations

import pytest
from django.test import Client

from hone.accounts.models import AuditEntry, Organisation, User
from hone.core.net.recorded import Entry, unpacked
from hone.tools.models import Recording
from hone.tools.services import recording_add
from jobs.errors import CannotStart
from jobs.models import Job, PauseReason, Run, Trajectory
from jobs.selectors import trajectory_body
from jobs.selectors.choices import job_choices
from jobs.services.lease import Lease
from jobs.services.probe import run_probe
from jobs.services.recordings import recording_from_job
from jobs.supervisor import handshake


def test_the_answered_calls_of_a_job_are_recorded_once_each(
    running: Job, owner: Client, alice: User
) -> None:
    page = owner.get(f"/jobs/{running.pk}/trajectories/").content.decode()
    assert "Record the tool calls" in page
    sent = owner.post(f"/jobs/{running.pk}/record/", {"record_as": "refunds"})
    recording = Recording.objects.get()
    assert sent["Location"] == f"/recordings/{recording.pk}/"
    kept = unpacked(bytes(recording.content))
    calls = [
        call
        for row in Trajectory.objects.filter(run__job=running)
        for call in trajectory_body(row).calls
        if call.status in {"ok", "tool_error"}
    ]
    assert calls
    assert {(each.tool, each.output) for each in kept} == {
        (call.name, call.output) for call in calls
    }
    assert len(kept) == len(set(kept)) == recording.entries
    before = recording.sha256
    recording_from_job(acting_user=alice, job=running, name="refunds")
    assert Recording.objects.get().sha256 == before
    assert AuditEntry.objects.filter(action="recording.add").count() == 2


def test_a_job_without_answered_calls_is_refused_in_words(job: Job, owner: Client) -> None:
    page = owner.post(f"/jobs/{job.pk}/record/", {"record_as": "r"}, follow=True)
    assert "there is nothing to record" in page.content.decode()
    assert not Recording.objects.exists()


@pytest.fixture
def recording(organisation: Organisation, alice: User) -> Recording:
    entry = Entry(tool="search", arguments="{}", row="", status="ok", output="found")
    return recording_add(
        acting_user=alice, organisation=organisation, name="r", source="s", entries=[entry]
    )


def _chosen(job: Job, recording: Recording) -> Run:
    job.spec["recording"] = {
        "id": recording.pk,
        "name": recording.name,
        "sha256": recording.sha256,
    }
    job.save()
    return Run.objects.select_related("job__organisation").get(job=job)


def test_the_engine_gets_the_recording_as_a_file(job: Job, recording: Recording) -> None:
    run = _chosen(job, recording)
    path, name = handshake._recording(run)
    assert name == "r"
    with open(path, "rb") as file:
        assert unpacked(file.read())[0].output == "found"


def test_a_recording_that_was_added_to_does_not_answer_for_an_older_job(
    job: Job, recording: Recording, alice: User, organisation: Organisation
) -> None:
    run = _chosen(job, recording)
    more = Entry(tool="search", arguments="[]", row="", status="ok", output="more")
    recording_add(
        acting_user=alice, organisation=organisation, name="r", source="s", entries=[more]
    )
    with pytest.raises(CannotStart, match="was added to since the job was made"):
        handshake._recording(run)


def test_a_job_that_misses_an_answer_is_not_woken_by_itself(job: Job, recording: Recording) -> None:
    run = _chosen(job, recording)
    run.pause_reason = PauseReason.TOOL_UNAVAILABLE
    assert run_probe(run) is False


def test_a_new_job_offers_recordings_and_freezes_the_one_that_is_chosen(
    lease: Lease, recording: Recording, organisation: Organisation, owner: Client
) -> None:
    assert job_choices(organisation).recordings == [(recording.pk, "recording r · 1 answers")]
    page = owner.get("/jobs/new/").content.decode()
    assert "Tool calls answered by" in page
    checks = owner.post("/jobs/new/check/", {"recording": recording.pk}).content.decode()
    assert "Every call is answered by the recording r." in checks
