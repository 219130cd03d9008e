"""Preflights: from the form to the page, its fragments, its list, and who may see them."""

from __future__ import annotations

from pathlib import Path

import preflight_story
import pytest
import story
from django.test import Client

from hone.accounts.models import AuditEntry, Organisation, User
from hone.datasets.sources import version_lines
from jobs.engine import events
from jobs.models import Job, JobEvent, Preflight, Run, RunKind, Trajectory
from jobs.services.ending import run_fail, run_pause
from jobs.services.lease import Lease, run_note_progress

Made = tuple[Job, Lease]


@pytest.fixture
def made(alice: User, organisation: Organisation, files: Path) -> Made:
    return preflight_story.learnable(alice, organisation, files / "model")


@pytest.fixture
def choices(alice: User, organisation: Organisation, files: Path) -> dict[str, object]:
    """What the form sends."""
    return {
        "name": "refunds-v4",
        "base_model": story.model_make(files / "model").pk,
        "train_version": story.dataset_make(alice, organisation, "chosen").pk,
        "validation_share": "0.5",
        "grader_version": story.grader_make(alice, organisation, "chosen").pk,
        "steps": "12",
        "batch_size": "4",
        "seed": "7",
    }


def read(client: Client, address: str) -> str:
    answer = client.get(address)
    assert answer.status_code == 200
    return answer.content.decode()


def test_the_form_begins_a_preflight_of_the_same_request(
    owner: Client, choices: dict[str, object]
) -> None:
    sent = choices | {"preflight": "1", "preflight_tasks": "6", "preflight_attempts": "3"}
    answer = owner.post("/jobs/new/", sent)
    job = Job.objects.get()
    assert (answer.status_code, answer["Location"]) == (302, f"/preflights/{job.pk}/")
    assert (job.purpose, job.status, job.seed, job.total_steps) == ("preflight", "queued", 7, 2)
    preflight = Preflight.objects.get()
    assert (len(set(preflight.rows)), preflight.attempts) == (6, 3)
    assert set(preflight.rows) <= set(job.spec["train"]["split_rows"])
    assert Run.objects.get().kind == RunKind.PREFLIGHT
    assert AuditEntry.objects.filter(action="preflight.create", target=job.pk).count() == 1
    page = read(owner, f"/preflights/{job.pk}/")
    assert "It waits for a training worker." in page
    assert "0 of 6 tasks × 3 attempts" in page


def test_the_same_seed_draws_the_same_tasks(owner: Client, choices: dict[str, object]) -> None:
    for _ in range(2):
        owner.post("/jobs/new/", choices | {"preflight": "1", "preflight_tasks": "5"})
    first, second = Preflight.objects.values_list("rows", flat=True)
    assert first == second


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("preflight_tasks", "1", "Tasks to try: This is 1; use at least 2."),
        ("preflight_attempts", "99", "Attempts each: This is 99; use at most 32."),
        ("preflight_tasks", "many", "Tasks to try: Enter a whole number."),
        ("grader_version", "", "Choose a grader."),
    ],
)
def test_what_does_not_fit_is_said_and_nothing_begins(
    owner: Client, choices: dict[str, object], field: str, value: str, said: str
) -> None:
    answer = owner.post("/jobs/new/", choices | {"preflight": "1", field: value})
    assert answer.status_code == 422
    assert said in answer.content.decode()
    assert not Job.objects.exists()


def test_the_page_says_what_was_found_and_what_to_do(owner: Client, made: Made) -> None:
    job, lease = made
    preflight_story.finish(lease)
    page = read(owner, f"/preflights/{job.pk}/")
    assert "<strong>Ready with warnings.</strong> 3 of 4 tasks carry signal" in page
    assert "1 of 4 tasks never pass (row 8)." in page
    assert "Little signal, or too few tasks to tell" in page
    assert f'href="/jobs/new/?from={job.pk}" title="Opens the form' in page
    assert "The cost is unknown: the operator has set no price of an hour." in page
    assert "40 steps of 2 tasks × 4 attempts" in page
    assert "0.1 s of learning a rollout with signal, measured" in page
    assert f'href="/jobs/{job.pk}/trajectories/?row=4"' in page
    assert "6 attempts pass here" in page
    assert "hx-trigger" not in page.split("<main", 1)[1]


def test_a_price_of_an_hour_gives_a_cost(owner: Client, made: Made, settings: object) -> None:
    settings.HOUR_PRICE, settings.CURRENCY = 36.0, "EUR"
    page = read(owner, f"/preflights/{made[0].pk}/")
    assert "EUR at 36.00 an hour" in page


def test_an_attempt_opens_on_the_page_of_trajectories(owner: Client, made: Made) -> None:
    job, _ = made
    listed = read(owner, f"/jobs/{job.pk}/trajectories/")
    assert "p-1-5-0" in listed
    one = Trajectory.objects.filter(run__job=job).order_by("pk")[0]
    page = read(owner, f"/jobs/{job.pk}/trajectories/{one.pk}/")
    assert "evaluated, not trained" in page
    assert "Order 0 came broken. Is a refund due?" in page
    assert "<script>alert" not in page


def test_a_preflight_is_no_job_of_the_list_and_has_a_list_of_its_own(
    owner: Client, made: Made
) -> None:
    job, _ = made
    assert job.pk not in read(owner, "/jobs/")
    listed = read(owner, "/preflights/")
    assert f'href="/preflights/{job.pk}/"' in listed
    assert "<strong>Ready with warnings</strong>" in listed
    answer = owner.get(f"/jobs/{job.pk}/")
    assert (answer.status_code, answer["Location"]) == (302, f"/preflights/{job.pk}/")
    assert owner.get(f"/jobs/{job.pk}/pulse/").status_code == 302


def test_an_empty_list_says_what_belongs_there(owner: Client, viewer: Client) -> None:
    assert "No preflights yet." in read(owner, "/preflights/")
    assert "Members can run preflights." in read(viewer, "/preflights/")


def test_the_form_opens_with_the_settings_of_a_preflight(owner: Client, made: Made) -> None:
    page = read(owner, f"/jobs/new/?from={made[0].pk}")
    assert "<h1>Start refunds-v4</h1>" in page
    assert 'value="refunds-v4"' in page


def test_the_job_starts_without_the_tasks_that_taught_nothing(
    owner: Client, viewer: Client, made: Made
) -> None:
    job, lease = made
    address = f"/preflights/{job.pk}/narrow/"
    assert address not in read(owner, f"/preflights/{job.pk}/")
    preflight_story.finish(lease)
    assert "Start without 1 task<" in read(owner, f"/preflights/{job.pk}/")
    assert address not in read(viewer, f"/preflights/{job.pk}/")
    tried = job.train_version
    assert tried is not None
    for _ in range(2):
        answer = owner.post(address)
        narrowed = tried.dataset.versions.get(number=2)
        assert answer["Location"] == f"/jobs/new/?from={job.pk}&dataset={narrowed.pk}"
    assert (narrowed.rows, tried.dataset.versions.count()) == (tried.rows - 1, 2)
    rows = list(version_lines(tried))
    assert list(version_lines(narrowed)) == rows[:7] + rows[8:]
    assert f'value="{narrowed.pk}" selected' in read(owner, answer["Location"])
    assert viewer.post(address).status_code == 403


def test_where_every_task_taught_something_or_too_few_are_left_nothing_is_made(
    owner: Client, alice: User, organisation: Organisation, files: Path
) -> None:
    job = preflight_story.preflight_make(alice, organisation, files / "model")
    lease = preflight_story.lease_take(job)
    preflight_story.slice_commit(lease, 0, {0: [1, 0]})
    address = f"/preflights/{job.pk}/narrow/"
    said = owner.post(address, follow=True).content.decode()
    assert "Every task that was tried has signal." in said
    assert job.train_version is not None
    all_rows = range(job.train_version.rows)
    preflight_story.slice_commit(lease, 1, {row: [0, 0] for row in all_rows if row})
    said = owner.post(address, follow=True).content.decode()
    assert "Too few rows would be left; at least 10 are needed." in said
    assert job.train_version.dataset.versions.count() == 1


def test_the_pulse_is_silent_until_something_happens(owner: Client, made: Made) -> None:
    job, lease = made
    address = f"/preflights/{job.pk}/pulse/"
    first = owner.get(address)
    assert first["HX-Trigger"] == "job-step, job-state"
    since = first.content.decode().split("since=", 1)[1].split('"', 1)[0]
    assert owner.get(f"{address}?since={since}").status_code == 204
    preflight_story.finish(lease)
    news = owner.get(f"{address}?since={since}")
    assert news["HX-Trigger"] == "job-state"
    assert "hx-get" not in news.content.decode()


def test_the_panel_of_findings_answers_alone(owner: Client, made: Made) -> None:
    address = f"/preflights/{made[0].pk}/"
    found = owner.get(address, headers={"HX-Request": "true", "HX-Target": "found"})
    assert found.content.decode().strip().startswith('<div id="found"')


def test_a_tool_that_is_away_is_what_the_page_says_first(
    owner: Client, alice: User, organisation: Organisation, files: Path
) -> None:
    job = preflight_story.preflight_make(alice, organisation, files / "model")
    lease = preflight_story.lease_take(job)
    text = "7 of 8 rollouts were lost to a tool fault, most often: tool lookup_order: HTTP 502"
    lost = {0: [None] * 4, 3: [None, None, None, 1]}
    preflight_story.slice_commit(lease, 0, lost, lost="tool_unavailable", lost_text=text)
    run_pause(lease, reason="tool_unavailable", text=f"{text}. It goes on by itself.")
    page = read(owner, f"/preflights/{job.pk}/")
    assert f"<strong>Fix the tool.</strong> {text}. It goes on by itself." in page
    assert page.count("before the job") == 1
    assert "Resume…" in page
    assert "⟦U+202E⟧" in page
    again = owner.post(f"/jobs/{job.pk}/resume/", follow=True).content.decode()
    assert "The preflight goes on from its last finished step." in again
    assert Job.objects.get(pk=job.pk).status == "queued"
    assert JobEvent.objects.filter(job=job, text="The preflight was resumed.").exists()


def test_why_it_failed_is_said(owner: Client, made: Made) -> None:
    job, lease = made
    run_fail(lease, code="out_of_memory", text="Memory ran out.", log="line 1")
    page = read(owner, f"/preflights/{job.pk}/")
    assert "Why it failed <code>out_of_memory</code>" in page


def test_cancelling_is_said_of_a_preflight(owner: Client, made: Made) -> None:
    job, _ = made
    assert "Cancel this preflight?" in read(owner, f"/jobs/{job.pk}/cancel/")


@pytest.mark.parametrize("part", ["", "pulse/"])
def test_a_foreign_preflight_answers_as_an_absent_one(
    stranger: Client, owner: Client, made: Made, job: Job, part: str
) -> None:
    foreign = stranger.get(f"/preflights/{made[0].pk}/{part}")
    absent = stranger.get(f"/preflights/preflight-0000000000000000/{part}")
    assert foreign.status_code == absent.status_code == 404
    assert foreign.content == absent.content
    assert owner.get(f"/preflights/{job.pk}/{part}").status_code == 404
    assert made[0].pk not in read(stranger, "/preflights/")


def test_a_stranger_is_asked_to_sign_in(made: Made) -> None:
    for page in ("", f"{made[0].pk}/", f"{made[0].pk}/pulse/"):
        answer = Client().get(f"/preflights/{page}")
        assert answer.status_code == 302
        assert answer["Location"].startswith("/login/")


def test_a_viewer_reads_without_buttons_and_begins_nothing(
    viewer: Client, made: Made, choices: dict[str, object]
) -> None:
    page = read(viewer, f"/preflights/{made[0].pk}/")
    assert "You can read this preflight. Members can pause or cancel it." in page
    assert "Start this job" not in page
    assert 'method="post"' not in page.split("<main", 1)[1]
    before = Job.objects.count()
    assert viewer.post("/jobs/new/", choices | {"preflight": "1"}).status_code == 403
    assert Job.objects.count() == before


def test_what_is_timed_is_not_called_learning(owner: Client, made: Made) -> None:
    job, lease = made
    progress = events.Progress(step=1, phase="learning", done=0, total=8)
    run_note_progress(lease, progress)
    page = read(owner, f"/preflights/{job.pk}/")
    assert "Timing an update of the job&#x27;s size: 0 of 8" in page
