"""A job is forked from a checkpoint as a person does it, by the real engine; and its pages."""

from __future__ import annotations

import json
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest
import story
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect
from pytest_django.live_server_helper import LiveServer

from conftest import sign_in
from hone.accounts.models import Organisation, User
from hone.demo.workspace import EMAIL, Workspace, sign_in_password
from jobs.engine import events
from jobs.models import Checkpoint, Job, JobEvent, Run, Trajectory, run_folder
from jobs.services.checkpoints import checkpoint_pin, checkpoint_verify
from jobs.services.create import job_create
from jobs.services.ending import run_finish
from jobs.services.request import JobRequest

PATIENCE_MS = 240_000
SETTINGS = {
    "batch_size": "4",
    "group_size": "4",
    "steps": "2",
    "eval_interval": "2",
    "eval_samples": "1",
    "learning_rate": "0.0005",
    "max_turns": "6",
    "max_sampled_tokens": "64",
    "max_turn_tokens": "64",
}


def test_a_fork_begins_with_its_checkpoint_and_its_adapter_downloads(
    workspace: Workspace,
    live_server: LiveServer,
    page: Page,
    complaints: list[str],
    pictures: Path | None,
    tmp_path: Path,
) -> None:
    source = job_create(
        acting_user=workspace.user,
        organisation=workspace.organisation,
        request=JobRequest(
            name="source",
            base_model=workspace.base_model.pk,
            train_version=workspace.training.pk,
            validation_share=0.05,
            grader_version=workspace.grader.pk,
            tool_versions=tuple(tool.pk for tool in workspace.tools),
            hyperparameters=SETTINGS,
        ),
    )
    sign_in(page, live_server.url, EMAIL, sign_in_password())
    _succeed(page, source)
    page.goto(f"{live_server.url}/jobs/{source.pk}/checkpoints/")
    page.get_by_role("link", name="Fork a job from step 2").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Fork of source, step 2")
    expect(page.get_by_label("Name", exact=True)).to_have_value("source (fork)")
    checks = page.locator("#checks")
    expect(checks).to_contain_text("It begins with the checkpoint of step 2", timeout=20_000)
    expect(checks).to_contain_text("0 problems")
    page.locator("summary", has_text="more settings").click()
    page.get_by_label("Steps", exact=True).fill("1")
    expect(page.locator("#estimate")).to_contain_text("1 step,", timeout=20_000)
    if page.locator("#id_accept").count():
        page.locator("#id_accept").check()
    page.get_by_role("button", name="Start job").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("source (fork)")

    fork = Job.objects.exclude(pk=source.pk).get()
    begun = Checkpoint.objects.get(run__job=source, step=2)
    assert (fork.start_checkpoint, begun.pinned) == (begun, True)
    _succeed(page, fork)
    assert _sampled(fork, 0) != _sampled(source, 0)
    own = Checkpoint.objects.get(run__job=fork, step=0)
    assert _weights(own) == _weights(begun) != _weights(_first(source))

    page.goto(f"{live_server.url}/jobs/{fork.pk}/checkpoints/")
    expect(page.locator(".provenance")).to_contain_text("Forked from step 2 of source")
    if pictures:
        page.screenshot(path=pictures / "fork_done.png", full_page=True)
    with page.expect_download() as download:
        page.get_by_role("link", name="Download adapter").click()
    with zipfile.ZipFile(download.value.path()) as archive:
        card = archive.read("README.md").decode()
        proof = json.loads(archive.read("proof.json"))
    assert f"| began with | the checkpoint of step 2 of {source.pk}" in card
    assert proof["max_abs_diff"] <= 1e-4 < proof["max_abs_diff_from_base"]
    page.goto(f"{live_server.url}/models/{source.pk}/")
    expect(page.get_by_role("region", name="Forks", exact=True)).to_contain_text("source (fork)")
    assert complaints == []


def _succeed(page: Page, job: Job) -> None:
    deadline = time.monotonic() + PATIENCE_MS / 1000
    while job.status != "succeeded":
        assert time.monotonic() < deadline, f"{job.name} is {job.status}: {job.error_message}"
        assert job.status != "failed", job.error_message
        page.wait_for_timeout(300)
        job.refresh_from_db()


def _first(job: Job) -> Checkpoint:
    return Checkpoint.objects.get(run__job=job, step=0)


def _weights(checkpoint: Checkpoint) -> bytes:
    folder = run_folder(checkpoint.run_id) / checkpoint.path
    return (folder / "adapter_model.safetensors").read_bytes()


def _sampled(job: Job, step: int) -> list[str]:
    rows = Trajectory.objects.filter(run__job=job, step=step).order_by("row", "sample")
    return list(rows.values_list("excerpt", flat=True))


@pytest.fixture
def pages(
    transactional_db: None,
    live_server: LiveServer,
    settings: Any,
    tmp_path: Path,
    alice: User,
    organisation: Organisation,
) -> dict[str, str]:
    """A job at work with a checkpoint of each kind, one that is done, and a fork of it."""
    settings.MEDIA_ROOT = tmp_path / "files"
    version = story.dataset_make(alice, organisation)
    grader = story.grader_make(alice, organisation)

    def job(name: str) -> Job:
        return story.job_make(
            alice, organisation, tmp_path / "model", name=name, version=version, grader=grader
        )

    running, done, fork = job("refunds-v3"), job("refunds-v2"), job("refunds-v2 (fork)")
    lease = story.lease_take(running)
    story.steps_commit(running, lease, 0, 2)
    checkpoint_pin(acting_user=alice, checkpoint=_at(running, 2))
    story.steps_commit(running, lease, 3, 10)
    checkpoint_verify(acting_user=alice, checkpoint=_at(running, 4))
    texts = ["lookup_order: 2 of 3 attempts timed out"] * 14
    JobEvent.objects.bulk_create(JobEvent(job=running, level="warn", text=text) for text in texts)
    lease = story.lease_take(done)
    story.steps_commit(done, lease, 0, 12)
    adapter = events.AdapterRef(
        step=12, path="adapter", sha256="9be1" * 16, bytes=18_400_000,
        proof_max_abs_logprob_diff=3.1e-6, proof_tokens=512, base_max_abs_logprob_diff=0.41,
    )  # fmt: skip
    run_finish(lease, events.Finished(seconds=55.0, adapter=adapter, best_step=12))
    begun = _at(done, 12)
    fork.spec["start"] = {
        "job": done.pk, "name": done.name, "step": 12, "validation_reward": 0.9,
        "manifest_sha256": begun.manifest_sha256,
    }  # fmt: skip
    fork.spec["engine"] = done.spec["engine"] = {"lora_rank": 16, "lora_alpha": 32}
    fork.start_checkpoint = begun
    fork.save()
    done.save(update_fields=["spec"])
    return {
        "checkpoints_running": f"/jobs/{running.pk}/checkpoints/",
        "checkpoints_done": f"/jobs/{done.pk}/checkpoints/",
        "checkpoints_none": f"/jobs/{fork.pk}/checkpoints/",
        "events_folded": f"/jobs/{running.pk}/events/",
        "events_nothing": f"/jobs/{running.pk}/events/?q=nobody&level=error",
        "spec_fork": f"/jobs/{fork.pk}/spec/",
        "new_fork": f"/jobs/new/?from={done.pk}&checkpoint=12",
        "new_rebase": f"/jobs/new/?from={done.pk}&rebase=1",
        "pause": f"/jobs/{running.pk}/pause/",
        "models_list": "/models/",
        "model_base": "/models/base-0.6b/",
        "model_tuned": f"/models/{done.pk}/",
    }


def _at(job: Job, step: int) -> Checkpoint:
    return Checkpoint.objects.get(run=Run.objects.get(job=job), step=step)


def test_the_pages_of_checkpoints_and_models_are_clean(
    pages: dict[str, str],
    live_server: LiveServer,
    page: Page,
    complaints: list[str],
    pictures: Path | None,
) -> None:
    sign_in(page, live_server.url, "alice@example.org")
    findings = []
    for name, path in pages.items():
        for scheme, width in (("light", 1440), ("dark", 390)):
            page.emulate_media(color_scheme=scheme)
            page.set_viewport_size({"width": width, "height": 900})
            page.goto(live_server.url + path)
            page.wait_for_timeout(700 if name.startswith("new") else 100)
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


def test_the_key_p_asks_before_it_pauses(
    pages: dict[str, str], live_server: LiveServer, page: Page
) -> None:
    sign_in(page, live_server.url, "alice@example.org")
    page.goto(live_server.url + pages["checkpoints_running"])
    page.keyboard.press("p")
    dialog = page.get_by_role("dialog", name="Pause this job?")
    expect(dialog).to_be_visible()
    dialog.get_by_role("link", name="Keep it running").click()
    expect(dialog).to_be_hidden()
    assert not Run.objects.filter(desired="pause").exists()
    page.keyboard.press("p")
    dialog.get_by_role("button", name="Pause the job").click()
    expect(page.locator("#pulse")).to_contain_text("Pausing…")
