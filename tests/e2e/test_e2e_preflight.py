"""A preflight as a person runs it: from the form to its advice, with a real engine."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Page, expect
from pytest_django.live_server_helper import LiveServer

from conftest import sign_in
from hone.demo.workspace import EMAIL, Workspace, sign_in_password
from jobs.models import Job, Run

PATIENCE_MS = 120_000
SETTINGS = {"Tasks a step": "4", "Steps": "20", "Sampled tokens a turn": "64"}


def choose(page: Page, label: str, words: str) -> None:
    field = page.get_by_label(label, exact=True)
    value = field.locator("option", has_text=words).first.get_attribute("value")
    assert value is not None
    field.select_option(value)


def test_from_the_form_to_the_advice_and_back_with_the_same_settings(
    workspace: Workspace,
    live_server: LiveServer,
    page: Page,
    complaints: list[str],
    pictures: Path | None,
) -> None:
    sign_in(page, live_server.url, EMAIL, sign_in_password())
    page.goto(f"{live_server.url}/jobs/new/")
    page.get_by_label("Name", exact=True).fill("ledger desk")
    choose(page, "Base model", "ledger-tiny")
    choose(page, "Grader", "ledger desk")
    choose(page, "Training tasks", "training")
    choose(page, "Validation tasks", "validation")
    for tool in workspace.tools:
        page.get_by_label(f"{tool.tool.name} v1").check()
    page.locator("summary", has_text="more settings").click()
    for label, value in SETTINGS.items():
        page.get_by_label(label, exact=True).fill(value)
    expect(page.locator("#checks")).to_contain_text("0 problems", timeout=20_000)
    page.get_by_label("Tasks to try").fill("8")
    page.get_by_label("Attempts each").fill("6")
    # The panel of checks answers each change; what was typed into it stays.
    page.wait_for_timeout(1500)
    expect(page.get_by_label("Attempts each")).to_have_value("6")
    page.get_by_role("button", name="Preflight").click()

    expect(page.get_by_role("heading", level=1)).to_have_text("Preflight of ledger desk")
    expect(page.locator("#pulse")).to_contain_text("8 of 8 tasks × 6 attempts", timeout=PATIENCE_MS)
    expect(page.locator("#pulse .chip")).to_contain_text("Succeeded", timeout=PATIENCE_MS)
    expect(page.locator("#pulse")).to_contain_text("tasks carry signal")
    expect(page.locator("#advice-title")).to_be_visible()
    expect(page.locator("#found")).to_contain_text("What the job would take")
    expect(page.locator("#found tbody").last.locator("tr")).to_have_count(8)
    if pictures:
        page.screenshot(path=pictures / "preflight_done.png", full_page=True)
    job = Job.objects.get()
    assert (job.purpose, job.status, Run.objects.get().kind) == (
        "preflight",
        "succeeded",
        "preflight",
    )

    page.locator("#found tbody").last.locator("a").first.click()
    page.locator("a.row-link").first.click()
    expect(page.locator("#turn-1")).to_be_visible()
    page.go_back()
    page.go_back()
    page.get_by_role("link", name="Start this job").click()
    expect(page.get_by_label("Name", exact=True)).to_have_value("ledger desk")
    expect(page.get_by_label("Tasks a step", exact=True)).to_have_value("4")
    assert complaints == []
