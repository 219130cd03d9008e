"""The job pages in a real browser: what moves, what asks first, what works without scripts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import story
from playwright.sync_api import Browser, Page, expect
from pytest_django.live_server_helper import LiveServer

from conftest import sign_in
from hone.accounts.models import Organisation, User
from jobs.engine import events
from jobs.models import Job
from jobs.services.ending import run_cancel, run_finish
from jobs.services.lease import Lease


@dataclass(frozen=True)
class World:
    """What there is to look at, and its addresses."""

    address: str
    pages: dict[str, str]
    running: Job
    lease: Lease


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
    version, grader = (
        story.dataset_make(alice, organisation),
        story.grader_make(alice, organisation),
    )

    def job(name: str) -> Job:
        return story.job_make(
            alice, organisation, tmp_path / "model", name=name, version=version, grader=grader
        )

    running, done = job("refunds-v3"), job("refunds-v2")
    held = story.lease_take(running)
    story.steps_commit(running, held, 0, 8)
    lease = story.lease_take(done)
    story.steps_commit(done, lease, 0, 12)
    adapter = events.AdapterRef(
        step=12, path="adapter", sha256="9be1" * 16, bytes=18_400_000,
        proof_max_abs_logprob_diff=3.1e-6, proof_tokens=512,
    )  # fmt: skip
    run_finish(lease, events.Finished(seconds=55.0, adapter=adapter, best_step=12))
    base = f"/jobs/{running.pk}"
    return World(
        address=live_server.url,
        running=running,
        lease=held,
        pages={
            "overview_running": f"{base}/",
            "overview_done": f"/jobs/{done.pk}/",
            "trajectories": f"{base}/trajectories/",
            "new": "/jobs/new/",
        },
    )


def test_steps_arrive_without_a_reload_and_nothing_that_is_open_closes(
    world: World, page: Page, complaints: list[str]
) -> None:
    sign_in(page, world.address, "alice@example.org")
    page.goto(world.address + world.pages["overview_running"])
    numbers = page.locator("details.numbers")
    numbers.locator("summary").click()
    page.locator("summary[aria-label^='Organisation']").click()
    story.steps_commit(world.running, world.lease, 9, 10)
    expect(page.locator("#charts")).to_have_attribute("data-points", "11", timeout=10_000)
    expect(page.locator("#pulse")).to_contain_text("step 10 of 12")
    expect(numbers).to_have_attribute("open", "")
    expect(numbers.locator("tbody th").first).to_have_text("10", timeout=10_000)
    expect(page.locator("details.menu[open]")).to_have_count(1)

    run_cancel(world.lease)
    expect(page.locator("#pulse")).to_contain_text("Cancelled", timeout=10_000)
    expect(page.get_by_role("button", name="Pause")).to_have_count(0)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.wait_for_timeout(4_000)
    assert asked == []
    assert complaints == []


def test_of_a_long_job_the_newest_point_grows_and_larger_points_come_anew(
    world: World, page: Page, complaints: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.selectors.rollup.MOST_POINTS", 5)
    sign_in(page, world.address, "alice@example.org")
    page.goto(world.address + world.pages["overview_running"])
    points = page.locator("#charts")
    asked: list[str] = []
    page.on("request", lambda each: "series.json" in each.url and asked.append(each.url))

    def drawn() -> list[list[float]]:
        return page.evaluate(
            "[...window.HoneCharts.shown.values()].map(({ chart }) => chart)"
            ".filter(chart => chart.key === 'reward')"
            ".flatMap(chart => [chart.steps, chart.series[1].values])"
        )

    steps, values = drawn()
    assert steps == [1, 3, 5, 7, 8]
    story.steps_commit(world.running, world.lease, 9, 9)
    expect(page.locator("#pulse")).to_contain_text("step 9 of 12", timeout=10_000)
    page.wait_for_function("window.HoneCharts.shown.values().next().value.chart.steps.at(-1) === 9")
    grown_steps, grown = drawn()
    assert (grown_steps, grown[:4]) == ([1, 3, 5, 7, 9], values[:4])
    assert [address.rpartition("after=")[2] for address in asked] == ["8"]
    story.steps_commit(world.running, world.lease, 10, 10)
    expect(points).to_have_attribute("data-points", "3", timeout=10_000)
    assert drawn()[0] == [3, 7, 10]
    assert ["after" in address for address in asked] == [True, True, False]
    assert complaints == []


def test_a_tab_takes_newer_steps_in_and_moves_nothing_that_is_in_use(
    world: World, page: Page, complaints: list[str]
) -> None:
    """Open, scrolled and typed things stay; what is selected is waited for."""
    page.set_viewport_size({"width": 390, "height": 800})
    sign_in(page, world.address, "alice@example.org")
    page.goto(f"{world.address}/jobs/{world.running.pk}/credit/")
    table = page.get_by_role("region", name="Credit by tool")
    table.evaluate("(box) => box.scrollTo(120, 0)")
    page.locator("figure.chart:visible details").first.locator("summary").click()
    page.mouse.move(1, 1)
    page.get_by_label("or the last steps").fill("12")
    story.steps_commit(world.running, world.lease, 9, 10)
    expect(page.locator("#tab .span")).to_contain_text("to 10", timeout=30_000)
    expect(page.locator("#pulse")).to_contain_text("step 10 of 12")
    assert table.evaluate("(box) => box.scrollLeft") == 120
    assert page.locator("figure.chart:visible details").first.evaluate("(each) => each.open")
    expect(page.get_by_label("or the last steps")).to_have_value("12")
    expect(page.locator("figure.chart:visible .uplot").first).to_be_visible()
    page.locator("#tab .span").evaluate("(line) => getSelection().selectAllChildren(line)")
    story.steps_commit(world.running, world.lease, 11, 11)
    expect(page.locator("#pulse")).to_contain_text("step 11 of 12", timeout=30_000)
    page.wait_for_timeout(3500)
    assert "to 10" in page.locator("#tab .span").inner_text()
    assert "to 10" in str(page.evaluate("String(getSelection())"))
    page.evaluate("getSelection().removeAllRanges()")
    expect(page.locator("#tab .span")).to_contain_text("to 11", timeout=30_000)
    assert complaints == []


def test_the_question_before_cancelling_is_a_dialog_that_can_be_left(
    world: World, page: Page
) -> None:
    sign_in(page, world.address, "alice@example.org")
    page.goto(world.address + world.pages["overview_running"])
    page.get_by_role("link", name="Cancel…").click()
    dialog = page.get_by_role("dialog", name="Cancel this job?")
    expect(dialog).to_be_visible()
    dialog.get_by_role("link", name="Keep it running").click()
    expect(dialog).to_be_hidden()
    page.get_by_role("link", name="Cancel…").click()
    dialog.get_by_role("button", name="Cancel the job").click()
    expect(page.locator("#pulse")).to_contain_text("Cancelling…")


def test_everything_can_be_read_and_asked_without_javascript(
    world: World, browser: Browser
) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    sign_in(page, world.address, "alice@example.org")
    page.goto(world.address + world.pages["overview_done"])
    expect(page.locator("#chart-reward svg.plot")).to_be_visible()
    page.locator("details.numbers summary").click()
    expect(page.locator("#numbers tbody tr")).to_have_count(13)
    page.goto(world.address + world.pages["trajectories"])
    page.get_by_label("Step").fill("4")
    page.get_by_label("Stop").select_option("tool_loop")
    page.get_by_role("button", name="Filter").click()
    expect(page.locator("a.row-link")).to_have_count(2)
    page.goto(world.address + world.pages["new"])
    page.get_by_role("button", name="Check").click()
    expect(page.locator("#checks")).to_contain_text("3 problems")
    page.goto(world.address + world.pages["overview_running"])
    page.get_by_role("link", name="Cancel…").click()
    expect(page.get_by_role("button", name="Cancel the job")).to_be_visible()
    context.close()
