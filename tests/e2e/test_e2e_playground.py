"""The playground as a person uses it: a task, two models, both answers, with a real engine."""

from __future__ import annotations

import re
from pathlib import Path

from playwright.sync_api import Page, expect
from pytest_django.live_server_helper import LiveServer

from conftest import sign_in
from hone.demo.workspace import EMAIL, Workspace, sign_in_password
from jobs.models import Job, Trajectory

PATIENCE_MS = 120_000


def choose(page: Page, label: str, words: str) -> None:
    field = page.get_by_label(label, exact=True)
    value = field.locator("option", has_text=words).first.get_attribute("value")
    assert value is not None
    field.select_option(value)


def test_a_task_is_chosen_both_models_answer_and_the_try_can_be_opened_again(
    workspace: Workspace,
    live_server: LiveServer,
    page: Page,
    complaints: list[str],
    pictures: Path | None,
) -> None:
    sign_in(page, live_server.url, EMAIL, sign_in_password())
    page.keyboard.press("g")
    page.keyboard.press("p")
    expect(page.get_by_role("heading", level=1)).to_have_text("Playground")
    choose(page, "Task from", "training")
    page.get_by_label("Row", exact=True).fill("4")
    for tool in workspace.tools:
        page.get_by_label(f"{tool.tool.name} v1").check()
    choose(page, "A", "ledger-tiny")
    choose(page, "B", "ledger-tiny")
    choose(page, "Grader", "ledger desk")
    page.get_by_label("Tokens a turn", exact=True).fill("64")
    page.get_by_label("Seed", exact=True).press("Control+Enter")

    page.wait_for_url("**/playground/try-*/")
    address = page.url
    expect(page.locator("#pulse .chip")).to_contain_text("Succeeded", timeout=PATIENCE_MS)
    for side in ("#side-0", "#side-1"):
        expect(page.locator(f"{side} .side-sum").first).to_contain_text("reward")
        expect(page.locator(f"{side} .turn").first).to_contain_text("Turn 1")
    expect(page.locator("#pulse .verdict")).to_contain_text("Both earned")
    # Nothing asks any more: it is final.
    expect(page.locator("[hx-trigger*='every']")).to_have_count(0)
    answers = [page.locator(f"{side} ol").inner_text() for side in ("#side-0", "#side-1")]
    plain = [re.sub(r"\d+(\.\d+)?\s?m?s\b", "", answer) for answer in answers]
    assert plain[0] == plain[1]
    if pictures:
        page.screenshot(path=pictures / "playground_done.png", full_page=True)
    job = Job.objects.get(purpose="playground")
    assert Trajectory.objects.filter(run__job=job).count() == 2

    page.keyboard.press("b")
    page.wait_for_url("**/?swap=1")
    expect(page.locator(".playground-side").first).to_have_attribute("id", "side-1")
    page.locator("#side-1").get_by_role("link", name="Trajectory", exact=True).click()
    expect(page.locator("#turn-1")).to_be_visible()
    page.goto(f"{live_server.url}/playground/")
    page.locator("a.row-link").first.click()
    assert page.url == address
    assert complaints == []
