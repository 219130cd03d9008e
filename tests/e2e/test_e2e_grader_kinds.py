"""Graders of every kind in a real browser: tried as they start, pasted, saved and downloaded."""

from __future__ import annotations

import json
from pathlib import Path

from playwright.sync_api import Page, expect
from pytest_django.live_server_helper import LiveServer
from test_e2e_tools import look

from conftest import sign_in
from graders.starts import PASTE, STARTS
from hone.accounts.models import Organisation, User

CALLING_OUT = {"score_model", "label_model", "endpoint"}
"""Kinds that need somebody to answer."""


def test_every_start_runs_and_its_page_is_clean(
    transactional_db: None,
    live_server: LiveServer,
    alice: User,
    organisation: Organisation,
    page: Page,
    pictures: Path | None,
    complaints: list[str],
) -> None:
    sign_in(page, live_server.url, "alice@example.org")
    findings = []
    for kind in STARTS.keys() - CALLING_OUT:
        page.goto(f"{live_server.url}/graders/new/?kind={kind}")
        page.get_by_role("button", name="Run").click()
        expect(page.get_by_role("region", name="Result")).to_contain_text("1.000")
        findings += look(page, f"start-{kind}", pictures)
    assert findings == []
    assert complaints == []


def test_the_body_of_a_job_becomes_a_grader_and_comes_back_as_a_file(
    transactional_db: None,
    live_server: LiveServer,
    alice: User,
    organisation: Organisation,
    page: Page,
    pictures: Path | None,
    complaints: list[str],
) -> None:
    sign_in(page, live_server.url, "alice@example.org")
    page.goto(f"{live_server.url}/graders/new/")
    page.get_by_role("link", name="Paste JSON").click()
    page.wait_for_url(f"**/?kind={PASTE}")
    findings = look(page, "paste", pictures)
    exact = STARTS["string_check"]
    spec = {"type": "multi", "graders": [exact], "calculate_output": "exact_answer"}
    page.get_by_label("Spec").fill(json.dumps({"reinforcement": {"grader": spec}}))
    page.get_by_label("Name").fill("Moved house")
    page.get_by_role("button", name="Save grader").click()
    expect(page.locator("main")).to_contain_text("calculate_output")
    expect(page.locator("body")).to_contain_text("an object by name: exact_answer.")
    findings += look(page, "pasted", pictures)
    with page.expect_download() as downloading:
        page.get_by_role("link", name="Download JSON").click()
    assert downloading.value.suggested_filename == "moved-house-v1.json"
    exported = json.loads(downloading.value.path().read_text())
    assert exported == {
        "type": "multi",
        "name": "Moved house",
        "graders": {"exact_answer": exact},
        "calculate_output": "exact_answer",
    }
    assert findings == []
    assert complaints == []
