"""Who sees which page, and who sees which button."""

from __future__ import annotations

import pytest
from django.test import Client

from jobs.models import Job, Run, Trajectory

TABS = (
    "",
    "pulse/",
    "series.json",
    "steps.csv",
    "results.csv",
    "report.json",
    "report.html",
    "spec.json",
    "charts/reward.table",
    "trajectories/news/",
    "credit/",
    "graders/",
    "loops/",
    "groups/1-train-train-1-0/",
    "trajectories/",
    "checkpoints/",
    "events/",
    "spec/",
)


def _some(job: Job) -> Trajectory:
    return Trajectory.objects.filter(run__job=job, stop="final_answer").order_by("pk")[0]


@pytest.mark.parametrize("tab", TABS)
def test_a_foreign_job_answers_byte_for_byte_as_an_absent_one(
    owner: Client, stranger: Client, running: Job, tab: str
) -> None:
    assert owner.get(f"/jobs/{running.pk}/{tab}").status_code in {200, 204}
    foreign = stranger.get(f"/jobs/{running.pk}/{tab}")
    absent = stranger.get(f"/jobs/ftjob-0000000000000000/{tab}")
    assert foreign.status_code == absent.status_code == 404
    assert foreign.content == absent.content


def test_a_foreign_trajectory_is_absent(stranger: Client, owner: Client, running: Job) -> None:
    one = _some(running)
    for page in ("", "raw.json", "grade/"):
        assert stranger.get(f"/jobs/{running.pk}/trajectories/{one.pk}/{page}").status_code == 404
    assert owner.get(f"/jobs/{running.pk}/trajectories/999999/").status_code == 404


def test_a_trajectory_is_found_under_its_own_job_only(
    owner: Client, running: Job, alice: object, organisation: object, files: object
) -> None:
    import story

    other = story.job_make(
        alice,
        organisation,
        files / "model",
        name="other",
        version=running.train_version,
        grader=running.grader_version,
    )
    address = f"/jobs/{other.pk}/trajectories/{_some(running).pk}/"
    assert owner.get(address).status_code == 404


def test_somebody_who_is_not_signed_in_is_asked_to(running: Job) -> None:
    answer = Client().get(f"/jobs/{running.pk}/")
    assert answer.status_code == 302
    assert answer["Location"].startswith("/login/")


def test_a_viewer_reads_everything_and_has_no_buttons(viewer: Client, running: Job) -> None:
    page = viewer.get(f"/jobs/{running.pk}/").content.decode()
    assert "You can read this job. Members can pause or cancel it." in page
    for word in ("Pause…", "Cancel…", "Clone"):
        assert word not in page
    one = _some(running)
    shown = viewer.get(f"/jobs/{running.pk}/trajectories/{one.pk}/").content.decode()
    assert "Grade this with another grader" not in shown


@pytest.mark.parametrize("action", ["pause", "resume", "cancel"])
def test_a_viewer_may_change_nothing(viewer: Client, running: Job, action: str) -> None:
    assert viewer.post(f"/jobs/{running.pk}/{action}/").status_code == 403
    assert viewer.get("/jobs/new/").status_code == 403
    running.refresh_from_db()
    assert running.status == "running"


@pytest.mark.parametrize("action", ["pause", "resume"])
def test_changes_are_made_by_post_only_and_get_asks(
    owner: Client, running: Job, action: str
) -> None:
    page = owner.get(f"/jobs/{running.pk}/{action}/").content.decode()
    assert ("Pause this job?" in page) is (action == "pause")
    assert ("is running, so there is nothing to resume" in page) is (action == "resume")
    assert Run.objects.get(job=running).desired == "run"


def test_a_form_without_a_token_is_refused(alice: object, running: Job) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(alice)
    assert client.post(f"/jobs/{running.pk}/cancel/").status_code == 403
