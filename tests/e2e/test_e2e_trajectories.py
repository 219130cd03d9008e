"""Trajectories in a real browser: filter the list, trace the credit of a turn to what is stored."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import story
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect
from pytest_django.live_server_helper import LiveServer

from conftest import sign_in
from hone.accounts.models import Organisation, User
from jobs.models import Job, Trajectory


@pytest.fixture
def job(
    transactional_db: None,
    live_server: LiveServer,
    settings: Any,
    tmp_path: Path,
    alice: User,
    organisation: Organisation,
) -> Job:
    settings.MEDIA_ROOT = tmp_path / "files"
    made = story.job_make(alice, organisation, tmp_path / "model")
    story.steps_commit(made, story.lease_take(made), 0, 4)
    return made


def _clean(page: Page) -> list[str]:
    found = Axe().run(page)
    return [
        f"{each['id']} {each['nodes'][0]['html'][:160]}" for each in found.response["violations"]
    ]


def test_the_list_is_filtered_searched_sorted_and_peeked_into(
    job: Job, live_server: LiveServer, page: Page, complaints: list[str]
) -> None:
    sign_in(page, live_server.url, "alice@example.org")
    page.goto(f"{live_server.url}/jobs/{job.pk}/trajectories/")
    page.keyboard.press("e")
    page.keyboard.type("4")
    page.get_by_label("Words").fill("delivered")
    page.get_by_role("button", name="Filter").click()
    expect(page.locator("a.row-link")).to_have_count(0)
    page.get_by_label("Words").fill("lookup")
    page.get_by_role("button", name="Filter").click()
    expect(page.locator("a.row-link")).to_have_count(32)
    expect(page.locator(".hit mark").first).to_have_text("lookup")
    page.get_by_role("link", name=re.compile("^16 1$|^\\d+ 1$")).click()
    page.get_by_role("link", name="Tokens").click()
    expect(page.locator("th[aria-sort='descending']")).to_contain_text("Tokens")
    page.wait_for_load_state()
    page.keyboard.press("o")
    expect(page.locator(".peek-row li")).to_have_count(2)
    page.keyboard.press("o")
    expect(page.locator(".peek-row")).to_have_count(0)
    assert _clean(page) == []
    assert complaints == []


def test_the_credit_of_a_turn_is_traced_to_the_stored_attribution(
    job: Job, live_server: LiveServer, page: Page, complaints: list[str]
) -> None:
    one = Trajectory.objects.get(uid="t4-r1-s1")
    address = f"{live_server.url}/jobs/{job.pk}/trajectories/{one.pk}/"
    sign_in(page, live_server.url, "alice@example.org")
    page.goto(f"{address}#turn-1")
    turn = page.locator("#turn-1")
    expect(turn.locator(".turn-a")).to_contain_text("−0.55")
    turn.get_by_text("With numbers").click()
    expect(turn.locator(".formula p")).to_contain_text("0.5 × (0.400 − 0.600)")
    stored = json.loads(page.request.get(f"{address}raw.json").body())
    record = stored["attribution"][0]
    total = sum(record[name] for name in ("episode", "step", "process", "counterfactual"))
    assert f"{total:+.2f}".replace("-", "−") == "−0.55"
    page.keyboard.press("j")
    expect(page).to_have_url(re.compile("#turn-2$"))
    expect(page.locator("#turn-2 details.turn-open")).to_have_attribute("open", "")
    assert _clean(page) == []
    page.keyboard.press("v")
    expect(page.get_by_role("heading", name="4 siblings, 4 graded")).to_be_visible()
    assert _clean(page) == []
    page.keyboard.press("v")
    page.locator("#inspector").focus()
    page.wait_for_load_state()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#inspector")).to_contain_text("ratio 6.00 · A −0.55")
    expect(page).to_have_url(re.compile("view=tokens&turn=1&token=1&colour=advantage$"))
    page.locator("h1").click()
    page.keyboard.press("m")
    expect(page.locator("#tokens a[aria-current='true']")).to_have_text("logprob")
    assert _clean(page) == []
    assert complaints == []
