"""A person writes a grader, pins it with fixtures, mends it, and compares it on a finished job."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import story
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect
from pytest_django.live_server_helper import LiveServer

from conftest import sign_in
from hone.accounts.models import Organisation, User
from jobs.engine import events
from jobs.models import Comparison, Job, Trajectory
from jobs.services.ending import run_finish
from jobs.workbench.work import comparison_work

SPEC = """{
  "type": "string_check",
  "name": "answer",
  "input": "{{sample.output_text}}",
  "reference": "{{item.answer}}",
  "operation": "%s"
}"""


@pytest.fixture
def finished(
    transactional_db: None, settings: Any, tmp_path: Path, alice: User, organisation: Organisation
) -> Job:
    settings.MEDIA_ROOT = tmp_path / "files"
    job = story.job_make(alice, organisation, tmp_path / "model", name="refunds-v2")
    lease = story.lease_take(job)
    story.steps_commit(job, lease, 0, 4)
    run_finish(lease, events.Finished(seconds=9.0, adapter=None, best_step=4))
    return job


def test_a_grader_is_written_pinned_mended_and_compared(
    live_server: LiveServer, finished: Job, page: Page, complaints: list[str]
) -> None:
    sign_in(page, live_server.url, "alice@example.org")
    page.goto(f"{live_server.url}/graders/new/?kind=string_check")
    page.get_by_label("Name").fill("answers")
    page.get_by_label("Spec").fill(SPEC % "ilike")
    page.get_by_role("button", name="Save grader").click()

    page.get_by_role("link", name="Fixtures", exact=True).click()
    add_fixture(page, "plain", "yes", "1")
    add_fixture(page, "a denial", "Not yes.", "0")
    expect(page.locator(".verdict")).to_contain_text("1 of 2 fixtures does not get the score")
    denial = page.get_by_role("row").filter(has_text="a denial")
    expect(denial).to_contain_text("fails")
    expect(denial).to_contain_text("1.000")

    page.get_by_role("link", name="answers").click()
    page.get_by_role("link", name="Edit and try").click()
    page.get_by_label("Spec").fill(SPEC % "like")
    page.get_by_role("button", name="Save v2").click()
    expect(page.locator("#errors")).to_contain_text("1 of 2 fixtures fails: a denial.")
    expect(page.get_by_label("Why save it although fixtures fail")).to_be_visible()
    page.get_by_label("Spec").fill(SPEC % "eq")
    page.get_by_role("button", name="Run").click()
    expect(page.locator("#outcomes")).to_contain_text("passes")
    expect(page.locator("#outcomes")).not_to_contain_text("fails")
    page.get_by_role("button", name="Save v2").click()
    expect(page.get_by_role("row").filter(has_text="v2")).to_contain_text("2 pass")

    page.get_by_role("link", name="Compare…").click()
    page.get_by_label("A", exact=True).select_option("answers v1")
    expect(page.get_by_label("B", exact=True)).to_have_value(value_of(page, "answers v2"))
    page.get_by_label("From step").fill("1")
    page.get_by_role("button", name="Compare").click()
    expect(page.locator("#pulse")).to_contain_text("Queued")
    expect(page.locator("#results")).to_contain_text("as soon as a worker is free")
    comparison_work(Comparison.objects.get().pk, turn_s=60)
    # The page finds out by itself.
    expect(page.locator("#pulse")).to_contain_text("Done", timeout=10_000)
    expect(page.locator("#results .verdict")).to_contain_text("disagree by more than 0.10")
    first = page.locator("#table tbody tr").first
    expect(first.locator("td").nth(0)).to_have_text("−1.00")
    first.get_by_label("Your mark of").fill("1")
    first.get_by_role("button", name="Mark").click()
    expect(page.locator("#people-title + .panel-body")).to_contain_text("1 of these")
    expect(page.locator("#fooled")).to_contain_text("an instruction to the grader")
    assert Axe().run(page).response["violations"] == []
    page.locator("#table tbody tr a").first.click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Trajectory")
    assert complaints == []


def test_a_trajectory_becomes_a_fixture_and_a_draft_is_compared_without_javascript(
    live_server: LiveServer, finished: Job, browser: Browser
) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    sign_in(page, live_server.url, "alice@example.org")
    right = Trajectory.objects.filter(run__job=finished, step=4, reward=1.0)[0]
    page.goto(f"{live_server.url}/jobs/{finished.pk}/trajectories/{right.pk}/")
    page.get_by_role("button", name="Keep as fixture").click()
    expect(page.locator(".verdict")).to_contain_text("v1 gives 1 of 1 fixture the score")
    page.get_by_role("link", name="refund grader").click()
    page.get_by_role("link", name="Edit and try").click()
    page.get_by_label("Spec").fill(SPEC % "ne")
    page.get_by_role("button", name="Compare the draft…").click()
    expect(page.get_by_label("B", exact=True)).to_have_value("draft")
    page.get_by_role("button", name="Compare").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("stored rewards")
    comparison_work(Comparison.objects.get().pk, turn_s=60)
    page.reload()
    expect(page.locator("#pulse")).to_contain_text("Done")
    expect(page.locator("#steps-title")).to_have_text("The job graded again")
    context.close()


def add_fixture(page: Page, name: str, answer: str, score: str) -> None:
    page.get_by_role("link", name="Add a fixture").first.click()
    page.get_by_label("Name").fill(name)
    page.get_by_label("Least score").fill(score)
    page.get_by_label("Answer").fill(answer)
    page.get_by_label("Row (JSON object)").fill('{"answer": "yes"}')
    page.get_by_role("button", name="Keep as fixture").click()
    page.get_by_role("row").filter(has_text=name).wait_for()


def value_of(page: Page, label: str) -> str:
    chosen = page.get_by_label("B", exact=True).locator("option", has_text=label)
    return chosen.get_attribute("value") or ""
