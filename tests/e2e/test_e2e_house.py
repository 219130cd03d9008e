"""The rest of the house in a real browser: settings, search, keys, theme."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import story
from playwright.sync_api import Page, expect
from pytest_django.live_server_helper import LiveServer

from conftest import sign_in
from hone.accounts.models import Organisation, User
from hone.accounts.services.keys import key_create
from jobs.models import Job, Trajectory


@dataclass(frozen=True)
class House:
    address: str
    job: Job
    trajectory: Trajectory


@pytest.fixture
def house(
    transactional_db: None,
    live_server: LiveServer,
    settings: Any,
    tmp_path: Path,
    alice: User,
    organisation: Organisation,
) -> House:
    settings.MEDIA_ROOT, settings.DATA_DIR = tmp_path / "files", tmp_path
    key_create(acting_user=alice, organisation=organisation, name="ci-runner", days=90)
    job = story.job_make(alice, organisation, tmp_path / "model", name="refunds-v3")
    story.steps_commit(job, story.lease_take(job), 0, 4)
    row = Trajectory.objects.filter(run__job=job).order_by("pk")[0]
    return House(live_server.url, job, row)


def test_a_key_is_shown_once_and_its_revocation_needs_no_reload(house: House, page: Page) -> None:
    sign_in(page, house.address, "alice@example.org")
    page.goto(f"{house.address}/settings/keys/")
    page.get_by_label("Name").fill("laptop")
    page.get_by_role("button", name="Make key").click()
    plain = page.locator("#new-key").inner_text()
    assert plain.startswith("hone_")
    series = f"{house.address}/jobs/{house.job.pk}/series.json"
    ask = page.context.browser.new_context(extra_http_headers={"Authorization": f"Bearer {plain}"})
    assert ask.request.get(series).json()["charts"]
    page.goto(f"{house.address}/settings/keys/")
    assert plain not in page.content()
    page.locator("tr", has_text="laptop").get_by_text("Revoke…").click()
    page.locator("tr", has_text="laptop").get_by_role("button", name="Revoke").click()
    expect(page.locator("#status")).to_contain_text("laptop is revoked")
    assert ask.request.get(series).status == 401
    ask.close()


def test_a_pasted_id_leads_to_its_page_and_a_word_to_what_is_named_so(
    house: House, page: Page
) -> None:
    sign_in(page, house.address, "alice@example.org")
    page.keyboard.press("/")
    page.keyboard.type(house.job.pk)
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/jobs/{house.job.pk}/")
    page.keyboard.press("/")
    page.keyboard.type(house.trajectory.uid)
    page.keyboard.press("Enter")
    page.wait_for_url("**/search/?q=*")
    expect(page.locator("main mark")).to_have_text(house.trajectory.uid)
    page.keyboard.press("Tab")
    page.keyboard.press("Escape")
    page.locator("main").focus()
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/trajectories/{house.trajectory.pk}/")


def test_the_sheet_lists_what_works_here_and_each_of_it_works(house: House, page: Page) -> None:
    sign_in(page, house.address, "alice@example.org")
    page.keyboard.press("?")
    listed = page.locator("#keys-list dt").all_inner_texts()
    keys = {" ".join(each.split()) for each in listed}
    assert keys >= {"?", "Esc", "/", "g j", "g d", "g t", "g r", "g m", "j", "k", "e", "n", "l"}
    assert keys >= {"c", "x"}
    assert "s" not in keys, "there is no curve to smooth here"
    page.keyboard.press("Escape")
    page.keyboard.press("e")
    page.keyboard.type("gd")
    assert page.url.endswith("/jobs/")
    page.locator("main").focus()
    page.keyboard.press("g")
    page.keyboard.press("d")
    page.wait_for_url("**/datasets/")
    page.locator("summary[aria-label^='Organisation']").click()
    page.keyboard.press("Escape")
    expect(page.locator("details.menu[open]")).to_have_count(0)
    assert page.url.endswith("/datasets/")
    page.goto(f"{house.address}/jobs/{house.job.pk}/events/")
    page.keyboard.press("Escape")
    page.wait_for_url("**/jobs/")


def test_the_theme_is_chosen_in_the_bar_and_the_page_stays(house: House, page: Page) -> None:
    sign_in(page, house.address, "alice@example.org")
    page.goto(f"{house.address}/jobs/?q=refund")
    page.locator("summary[aria-label^='You']").click()
    page.get_by_role("button", name="Dark").click()
    page.wait_for_url("**/jobs/?q=refund")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(18, 22, 28)"


def test_silence_is_said_with_its_time_and_ends_by_itself(house: House, page: Page) -> None:
    sign_in(page, house.address, "alice@example.org")
    page.goto(f"{house.address}/jobs/{house.job.pk}/")
    page.route("**/pulse/**", lambda route: route.abort())
    expect(page.locator("#status")).to_contain_text("Trying again.", timeout=15_000)
    assert "No answer since " in page.locator("#live-note").inner_text()
    page.unroute("**/pulse/**")
    expect(page.locator("#live-note")).to_have_count(0, timeout=10_000)


def test_each_live_page_asks_at_a_pace_of_its_own(house: House, page: Page) -> None:
    sign_in(page, house.address, "alice@example.org")
    paces = []
    for _ in range(4):
        page.goto(f"{house.address}/jobs/{house.job.pk}/")
        asks = page.locator("#pulse").get_attribute("hx-trigger") or ""
        paces.append(int(asks.removeprefix("every ").removesuffix("ms")))
    assert all(1275 <= pace <= 1725 for pace in paces), paces
    assert len(set(paces)) > 1, paces
