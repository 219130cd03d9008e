"""Two jobs compared in a real browser, and a report that opens from a disk without a network."""

from __future__ import annotations

from dataclasses import dataclass
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
from jobs.models import Job
from jobs.services.ending import run_finish

WIDTHS = (1440, 390)
SCHEMES = ("light", "dark")


@dataclass(frozen=True)
class World:
    address: str
    older: Job
    newer: Job

    @property
    def both(self) -> str:
        return f"/compare/?jobs={self.older.pk},{self.newer.pk}"

    @property
    def steps(self) -> str:
        return f"/compare/?jobs={self.newer.pk}@0,{self.newer.pk}@12"


@pytest.fixture
def world(
    transactional_db: None,
    live_server: LiveServer,
    settings: Any,
    tmp_path: Path,
    alice: User,
    organisation: Organisation,
) -> World:
    settings.MEDIA_ROOT = tmp_path / "files"
    version = story.dataset_make(alice, organisation)
    grader = story.grader_make(alice, organisation)

    def job(name: str, steps: int, seed: int) -> Job:
        made = story.job_make(
            alice, organisation, tmp_path / "model", name=name, version=version, grader=grader
        )
        made.seed = seed
        made.spec["settings"] = [
            {**each, "value": seed} if each["name"] == "group_size" else each
            for each in made.spec["settings"]
        ]
        made.save(update_fields=["seed", "spec"])
        lease = story.lease_take(made)
        story.steps_commit(made, lease, 0, steps)
        if steps == story.TOTAL:
            adapter = events.AdapterRef(
                step=12, path="adapter", sha256="9be1" * 16, bytes=18_400_000,
                proof_max_abs_logprob_diff=3.1e-6, proof_tokens=512,
            )  # fmt: skip
            run_finish(lease, events.Finished(seconds=55.0, adapter=adapter, best_step=12))
        made.refresh_from_db()
        return made

    return World(live_server.url, job("refunds-v2", 8, 7), job("refunds-v3", 12, 16))


def test_jobs_are_ticked_compared_soloed_by_a_key_and_a_task_is_opened(
    world: World, page: Page, complaints: list[str]
) -> None:
    sign_in(page, world.address, "alice@example.org")
    page.goto(f"{world.address}/jobs/{world.older.pk}/")
    page.get_by_role("link", name="Compare…").click()
    expect(page.get_by_label("Compare refunds-v2")).to_be_checked()
    page.get_by_label("Compare refunds-v3").check()
    page.get_by_role("button", name="Compare").click()
    table = page.get_by_role("region", name="What each reached")
    expect(table.locator("tbody tr")).to_have_count(2)
    expect(
        page.locator("#chart-reward .plot .stroke-s1, #chart-reward .plot .stroke-s2")
    ).to_have_count(2)
    page.keyboard.press("2")
    page.wait_for_url("**solo=2**")
    expect(page.locator("#chart-reward .plot .stroke-s1")).to_have_count(0)
    expect(page.locator("#chart-reward .plot .stroke-s2")).to_have_count(1)
    page.keyboard.press("2")
    expect(page.locator("#chart-reward .plot .stroke-s1")).to_have_count(1)

    plot = page.locator("#chart-reward .plot-box")
    plot.focus()
    plot.press("Home")
    expect(page.locator("#chart-reward [data-step]")).to_have_text("step 0")
    expect(page.locator("#chart-reward [data-value]").first).to_have_text("0.000")
    plot.press("ArrowRight")
    expect(page.locator("#chart-train [data-step]")).to_have_text("step 1")

    page.get_by_role("region", name="Tasks, sorted").get_by_role("link").first.click()
    expect(page.locator("#task")).to_be_in_viewport()
    expect(page.locator("#task .half")).to_have_count(2)
    assert complaints == []


def test_every_state_of_the_page_is_clean(
    world: World, page: Page, complaints: list[str], pictures: Path | None
) -> None:
    sign_in(page, world.address, "alice@example.org")
    states = {
        "compare": world.both,
        "compare_tokens": f"{world.both}&x=tokens",
        "compare_task": f"{world.steps}&task=4",
        "compare_choose": f"/compare/?jobs={world.older.pk}",
    }
    findings = []
    for name, path in states.items():
        for scheme in SCHEMES:
            page.emulate_media(color_scheme=scheme)
            for width in WIDTHS:
                page.set_viewport_size({"width": width, "height": 900})
                page.goto(world.address + path)
                if pictures:
                    page.screenshot(path=pictures / f"{name}-{width}-{scheme}.png", full_page=True)
                wide = page.evaluate("document.documentElement.scrollWidth")
                if wide > width:
                    findings.append(f"{name} at {width}: {wide} px wide")
                findings += [
                    f"{name} {width} {scheme}: {each['id']} {each['nodes'][0]['html'][:160]}"
                    for each in Axe().run(page).response["violations"]
                ]
    assert findings == []
    assert complaints == []


def test_the_report_opens_from_a_disk_offline_and_asks_for_nothing(
    world: World, page: Page, browser: Browser, tmp_path: Path, pictures: Path | None
) -> None:
    sign_in(page, world.address, "alice@example.org")
    page.goto(f"{world.address}/jobs/{world.newer.pk}/")
    page.get_by_text("Reports", exact=True).click()
    with page.expect_download() as loading:
        page.get_by_role("link", name="Page that opens offline (HTML)").click()
    file = tmp_path / "report.html"
    loading.value.save_as(file)

    context = browser.new_context(offline=True)
    asked: list[str] = []
    heard: list[str] = []
    context.on("request", lambda request: asked.append(request.url))
    context.on("console", lambda line: heard.append(line.text))
    alone = context.new_page()
    for scheme in SCHEMES:
        alone.emulate_media(color_scheme=scheme)
        for width in WIDTHS:
            alone.set_viewport_size({"width": width, "height": 900})
            alone.goto(file.as_uri())
            if pictures:
                shot = pictures / f"report-{width}-{scheme}.png"
                alone.screenshot(path=shot, full_page=True)
            assert alone.evaluate("document.documentElement.scrollWidth") <= width
    assert set(asked) == {file.as_uri()}
    assert heard == []
    expect(alone.get_by_role("heading", name="refunds-v3")).to_be_visible()
    expect(alone.locator("svg.plot").first).to_be_visible()
    # The policy let its own style in, and nothing else.
    assert (
        alone.evaluate("getComputedStyle(document.querySelector('.chart')).borderTopWidth") == "1px"
    )
    alone.evaluate(
        "const style = document.createElement('style');"
        "style.textContent = 'h1 { color: red }'; document.head.append(style)"
    )
    assert (
        alone.evaluate("getComputedStyle(document.querySelector('h1')).color") != "rgb(255, 0, 0)"
    )
    alone.get_by_text("Show table").first.click()
    expect(alone.locator("details[open] tbody tr")).to_have_count(13)
    assert Axe().run(alone).response["violations"] == []
    context.close()
