"""Every job page in a real browser: axe finds nothing, the policy reports nothing."""

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
from jobs.models import Job, Trajectory
from jobs.services.ending import run_cancel, run_fail, run_finish
from jobs.services.lease import Lease

WIDTHS = (1440, 390)
SCHEMES = ("light", "dark")


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

    running, done, failed, queued = (
        job("refunds-v3"),
        job("refunds-v2"),
        job("triage-1"),
        job("sql-agent-2"),
    )
    held = story.lease_take(running)
    story.steps_commit(running, held, 0, 8)
    lease = story.lease_take(done)
    story.steps_commit(done, lease, 0, 12)
    adapter = events.AdapterRef(
        step=12, path="adapter", sha256="9be1" * 16, bytes=18_400_000,
        proof_max_abs_logprob_diff=3.1e-6, proof_tokens=512,
    )  # fmt: skip
    run_finish(lease, events.Finished(seconds=55.0, adapter=adapter, best_step=12))
    lease = story.lease_take(failed)
    story.steps_commit(failed, lease, 0, 1)
    run_fail(
        lease,
        code="out_of_memory",
        text="Step 2 needed 81.2 GB; the GPU has 79.3 GB. Clone with batch size 4.",
        log="Traceback\nline 2",
    )
    mine = Trajectory.objects.filter(run__job=running, step=4, split="train")
    looped, plain = mine.filter(stop="tool_loop")[0], mine.filter(stop="final_answer")[3]
    faulty = mine.filter(reward=None)[0]
    base = f"/jobs/{running.pk}"
    return World(
        address=live_server.url,
        running=running,
        lease=held,
        pages={
            "jobs": "/jobs/",
            "jobs_none": "/jobs/?q=nothing",
            "overview_running": f"{base}/",
            "overview_done": f"/jobs/{done.pk}/",
            "overview_failed": f"/jobs/{failed.pk}/",
            "overview_queued": f"/jobs/{queued.pk}/",
            "cancel": f"{base}/cancel/",
            "trajectories": f"{base}/trajectories/",
            "trajectory": f"{base}/trajectories/{plain.pk}/",
            "trajectory_loop": f"{base}/trajectories/{looped.pk}/",
            "trajectory_fault": f"{base}/trajectories/{faulty.pk}/",
            "grade": f"{base}/trajectories/{plain.pk}/grade/",
            "checkpoints": f"/jobs/{done.pk}/checkpoints/",
            "events": f"{base}/events/",
            "spec": f"{base}/spec/",
            "new": "/jobs/new/",
            "clone": f"/jobs/new/?from={done.pk}",
            "models": "/models/",
            "datasets": "/datasets/",
            "dataset": f"/datasets/{version.dataset_id}/",
            "dataset_delete": f"/datasets/{version.dataset_id}/delete/",
            "dataset_new": "/datasets/new/",
            "tools": "/tools/",
            "tool_new": "/tools/new/",
            "graders": "/graders/",
            "grader": f"/graders/{grader.grader_id}/",
            "grader_edit": f"/graders/{grader.grader_id}/edit/",
            "settings": "/settings/",
            "members": "/settings/members/",
        },
    )


def test_every_page_is_clean_at_every_width_and_in_both_schemes(
    world: World, page: Page, complaints: list[str], pictures: Path | None
) -> None:
    sign_in(page, world.address, "alice@example.org")
    findings = []
    for name, path in world.pages.items():
        for scheme in SCHEMES:
            page.emulate_media(color_scheme=scheme)
            for width in WIDTHS:
                page.set_viewport_size({"width": width, "height": 900})
                page.goto(world.address + path)
                page.wait_for_load_state("load")
                page.wait_for_timeout(700 if name in {"new", "clone"} else 150)
                if pictures:
                    page.screenshot(path=pictures / f"{name}-{width}-{scheme}.png", full_page=True)
                wide = page.evaluate("document.documentElement.scrollWidth")
                if wide > width:
                    findings.append(f"{name} at {width}: {wide} px wide")
                found = Axe().run(page)
                findings += [
                    f"{name} {width} {scheme}: {each['id']} {each['nodes'][0]['html'][:160]}"
                    for each in found.response["violations"]
                ]
    assert findings == []
    assert complaints == []


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
