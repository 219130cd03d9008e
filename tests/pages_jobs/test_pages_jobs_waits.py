"""What the page of a job says while the job stands still, and after it has failed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import story
from django.test import Client
from django.utils import timezone

from hone.accounts.models import User
from jobs.models import Checkpoint, Job, PauseReason, Run
from jobs.services.control import job_pause, job_resume
from jobs.services.ending import run_fail, run_pause
from jobs.services.lease import Lease


def text_of(response: object) -> str:
    page = re.sub(r"<[^>]+>", " ", response.content.decode())  # type: ignore[attr-defined]
    return re.sub(r"\s+", " ", page)


def test_a_job_that_a_person_paused_names_the_person_and_the_way_on(
    owner: Client, viewer: Client, job: Job, alice: User
) -> None:
    job_pause(acting_user=alice, job=job)
    page = text_of(owner.get(f"/jobs/{job.pk}/"))
    assert f"Paused by {alice.name or alice.email} Since" in page
    assert "Press Resume: it goes on from its last finished step." in page
    assert "Last good checkpoint none: no step was finished" in page
    assert "A member can resume it: it goes on" in text_of(viewer.get(f"/jobs/{job.pk}/"))
    job_resume(acting_user=alice, job=job)
    assert Run.objects.get(job=job).paused_by is None
    assert "Paused by" not in text_of(owner.get(f"/jobs/{job.pk}/"))


def test_a_job_that_waits_for_a_tool_says_how_often_it_tries_and_what_is_kept(
    owner: Client, running: Job, lease: Lease
) -> None:
    run_pause(lease, reason=PauseReason.TOOL_UNAVAILABLE, text="`refund` did not answer.")
    Checkpoint.objects.filter(step=4).update(available=False, damage="a hash differs")
    Checkpoint.objects.filter(step=3).update(verified_at=timezone.now())
    response = owner.get(f"/jobs/{running.pk}/")
    page = text_of(response)
    assert "A tool does not answer `refund` did not answer. Since just now" in page
    assert "The job tries every 60 s and goes on by itself when the tool answers." in page
    assert "Last good checkpoint step 3 , verified just now" in page
    assert f'href="/jobs/{running.pk}/checkpoints/#step-3"' in response.content.decode()


@pytest.mark.parametrize("reason", [PauseReason.TOO_SLOW, PauseReason.FILES_MISSING])
def test_a_pause_that_nothing_ends_asks_for_a_person(
    owner: Client, running: Job, lease: Lease, reason: str
) -> None:
    run_pause(lease, reason=reason, text="See to it.")
    page = text_of(owner.get(f"/jobs/{running.pk}/"))
    assert "It does not go on by itself. Press Resume once the cause is mended." in page


def test_a_tool_of_a_recording_is_not_said_to_be_tried_again(
    owner: Client, running: Job, lease: Lease
) -> None:
    Job.objects.filter(pk=running.pk).update(spec={**running.spec, "recording": {"id": 1}})
    run_pause(lease, reason=PauseReason.TOOL_UNAVAILABLE, text="Not recorded.")
    assert "It does not go on by itself." in text_of(owner.get(f"/jobs/{running.pk}/"))


def test_a_queued_job_says_what_is_ahead_and_that_nobody_works(
    owner: Client, job: Job, alice: User, files: Path
) -> None:
    page = text_of(owner.get(f"/jobs/{job.pk}/"))
    assert "place 1 in line" in page
    assert "Nothing is ahead of it. No training worker is at work." in page
    assert "celery -A hone worker -Q train -c 1" in page
    next_ = story.job_make(
        alice, job.organisation, files / "model", name="the next",
        version=job.train_version, grader=job.grader_version,
    )  # fmt: skip
    page = text_of(owner.get(f"/jobs/{next_.pk}/"))
    assert "place 2 in line" in page
    assert "Ahead of it: refunds-v3 ." in page
    story.lease_take(job)
    page = text_of(owner.get(f"/jobs/{next_.pk}/"))
    assert "Nothing is ahead of it. 1 worker is at work, on refunds-v3 ." in page


def test_jobs_of_other_organisations_are_counted_and_not_named(
    owner: Client, job: Job, alice: User, charlie: User, files: Path
) -> None:
    mine = story.job_make(
        alice, job.organisation, files / "model", name="mine",
        version=job.train_version, grader=job.grader_version,
    )  # fmt: skip
    theirs = charlie.memberships.get().organisation
    Job.objects.filter(pk=job.pk).update(organisation=theirs, name="their secret")
    page = text_of(owner.get(f"/jobs/{mine.pk}/"))
    assert "Ahead of it: 1 of other organisations." in page
    assert "their secret" not in page


def test_a_queued_page_hears_when_the_line_moves(
    owner: Client, job: Job, alice: User, files: Path
) -> None:
    mine = story.job_make(
        alice, job.organisation, files / "model", name="mine",
        version=job.train_version, grader=job.grader_version,
    )  # fmt: skip
    page = owner.get(f"/jobs/{mine.pk}/").content.decode()
    pulse = re.search(r'hx-get="(/jobs/[^"]+/pulse/[^"]+)"', page)
    assert pulse is not None
    assert owner.get(pulse.group(1)).status_code == 204
    story.lease_take(job)
    news = owner.get(pulse.group(1))
    assert "place 1 in line" in text_of(news)
    assert "HX-Trigger" not in news


def test_a_failed_job_says_what_it_left_and_shows_the_log(
    owner: Client, running: Job, lease: Lease
) -> None:
    run_fail(lease, code="out_of_memory", text="Too big.", log="\n".join(map(str, range(150))))
    response = owner.get(f"/jobs/{running.pk}/")
    page = text_of(response)
    assert "Why it failed out_of_memory Too big. Last good checkpoint: step 4 , hashed" in page
    assert "50\n51\n" in response.content.decode()
    assert ">49\n" not in response.content.decode()
    clone = f'href="/jobs/new/?from={running.pk}&amp;mend=1">Clone with this fixed'
    assert clone in response.content.decode()
