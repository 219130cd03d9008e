"""The whole job as a person does it, in a real browser, with a real worker and the real engine."""

from __future__ import annotations

import json
import os
import socket
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from playwright.sync_api import Page, expect
from pytest_django.live_server_helper import LiveServer

from conftest import sign_in
from hone.accounts.models import User
from hone.demo.base_model import WEIGHTS
from hone.demo.processes import ProcessGroup, tool_server, wait_for_port, workers
from hone.demo.world.tasks import grader_spec, training_rows, validation_rows
from hone.demo.world.tools import definitions
from jobs.models import Job
from jobs.services.models_list import base_model_add
from tests.database_url import database_url

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = {
    "Tasks a step": "4",
    "Steps": "4",
    "Attempts a task": "4",
    "Steps between evaluations": "2",
    "Attempts a validation task": "1",
    "Learning rate": "0.0005",
    "Turns a trajectory": "6",
    "Sampled tokens a turn": "64",
}
PATIENCE_S = 240


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def tool_port(transactional_db: None, settings: Any, tmp_path: Path) -> Iterator[int]:
    """The demo's tools on a loopback port, which is allowed, and the workers of an installation."""
    port = _free_port()
    allowed = f"127.0.0.1:{port}"
    settings.OUTBOUND_ALLOW = (allowed,)
    group = ProcessGroup(
        tmp_path / "logs",
        {
            **os.environ,
            "PYTHONPATH": f"{ROOT / 'platform'}{os.pathsep}{ROOT}",
            "DJANGO_SETTINGS_MODULE": "hone.settings",
            "DATABASE_URL": database_url(),
            "HONE_DATA_DIR": str(django_settings.DATA_DIR),
            "HONE_OUTBOUND_ALLOW": allowed,
        },
    )
    try:
        group.start(tool_server(port))
        assert wait_for_port(port, seconds=20, alive=group.running["tool-server"])
        for program in workers(ROOT / "manage.py"):
            group.start(program)
        yield port
    finally:
        group.stop()


def _jsonl(path: Path, rows: Iterator[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def _upload(page: Page, name: str, file: Path) -> None:
    page.goto(f"{_origin(page)}/datasets/new/")
    page.get_by_label("Name", exact=True).fill(name)
    page.locator("input[type=file]").set_input_files(file)
    page.get_by_role("button", name="Upload and check").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text(name)


def _origin(page: Page) -> str:
    return "/".join(page.url.split("/")[:3])


def _register(page: Page, function: dict[str, Any], port: int) -> None:
    page.goto(f"{_origin(page)}/tools/new/")
    page.get_by_label("Name", exact=True).fill(function["name"])
    page.get_by_label("Description").fill(function["description"])
    page.get_by_label("URL", exact=True).fill(f"http://127.0.0.1:{port}/{function['name']}")
    page.get_by_label("Arguments (JSON schema)").fill(json.dumps(function["parameters"]))
    page.get_by_role("button", name="Register tool").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text(function["name"])


def _write_grader(page: Page) -> None:
    page.goto(f"{_origin(page)}/graders/new/?kind=multi")
    page.get_by_label("Name", exact=True).fill("ledger desk")
    page.get_by_label("Spec").fill(json.dumps(grader_spec(), indent=2))
    page.get_by_role("button", name="Save grader").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("ledger desk")


def _start_job(page: Page) -> str:
    page.goto(f"{_origin(page)}/jobs/new/")
    page.get_by_label("Name", exact=True).fill("first job")
    _choose(page, "Base model", "ledger-tiny")
    _choose(page, "Grader", "ledger desk")
    _choose(page, "Training tasks", "training")
    _choose(page, "Validation tasks", "validation")
    for tool in definitions():
        page.get_by_label(f"{tool['function']['name']} v1").check()
    page.locator("summary", has_text="more settings").click()
    for label, value in SETTINGS.items():
        page.get_by_label(label, exact=True).fill(value)
    checks = page.locator("#checks")
    expect(checks).to_contain_text("Steps: 4.", timeout=20_000)
    expect(checks).to_contain_text("0 problems")
    if page.locator("#id_accept").count():
        page.locator("#id_accept").check()
    page.get_by_role("button", name="Start job").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("first job")
    return page.url


def _choose(page: Page, label: str, words: str) -> None:
    field = page.get_by_label(label, exact=True)
    value = field.locator("option", has_text=words).first.get_attribute("value")
    assert value is not None
    field.select_option(value)


def _wait(page: Page, truth: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not truth():
        assert time.monotonic() < deadline, f"{what} did not happen in {PATIENCE_S} s"
        page.wait_for_timeout(200)


def _points(page: Page) -> int:
    return int(page.locator("#charts").get_attribute("data-points") or 0)


def test_from_signing_in_to_an_adapter_that_plain_peft_loads(
    tool_port: int,
    live_server: LiveServer,
    alice: User,
    page: Page,
    complaints: list[str],
    pictures: Path | None,
    tmp_path: Path,
) -> None:
    base_model_add(name="ledger-tiny", source=str(WEIGHTS))
    sign_in(page, live_server.url, alice.email)
    _upload(page, "training", _jsonl(tmp_path / "training.jsonl", training_rows(count=40)))
    _upload(page, "validation", _jsonl(tmp_path / "validation.jsonl", validation_rows(count=20)))
    for tool in definitions():
        _register(page, tool["function"], tool_port)
    _write_grader(page)

    address = _start_job(page)
    _wait(page, lambda: _points(page) >= 2, "the reward curve's second point")
    before = _points(page)
    _wait(page, lambda: _points(page) > before, "another point of the reward curve")
    expect(page.locator("#chart-reward canvas")).to_be_visible()
    expect(page.locator("#outcome")).to_contain_text("Download adapter", timeout=PATIENCE_S * 1000)
    expect(page.locator("#pulse")).not_to_have_attribute("hx-get", "")
    assert _points(page) == 5
    job = Job.objects.get()
    assert (job.status, job.last_step) == ("succeeded", 4)

    _picture(page, pictures, "whole_job")

    page.goto(f"{address}trajectories/?step=4&split=validation")
    page.locator("a.row-link").first.click()
    expect(page.locator("#turn-1")).to_be_visible()
    assert page.locator(".call").count() + page.locator(".said").count() > 0
    _picture(page, pictures, "whole_job_trajectory")

    page.goto(address)
    with page.expect_download() as download:
        page.get_by_role("link", name="Download adapter").click()
    folder = tmp_path / "adapter"
    with zipfile.ZipFile(download.value.path()) as archive:
        archive.extractall(folder)
    assert _largest_difference(folder) <= 1e-4
    assert complaints == []


def _picture(page: Page, pictures: Path | None, name: str) -> None:
    if pictures:
        page.screenshot(path=pictures / f"{name}.png", full_page=True)


def _largest_difference(folder: Path) -> float:
    """Load the download with plain PEFT, and compare with the log-probabilities in its proof."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(1)
    proof = json.loads((folder / "proof.json").read_text())
    base = AutoModelForCausalLM.from_pretrained(WEIGHTS, dtype=torch.float32)
    model = PeftModel.from_pretrained(base, folder).eval()
    worst, compared = 0.0, 0
    for case in proof["trajectories"]:
        ids = torch.tensor([case["ids"]])
        with torch.no_grad():
            logits = model(input_ids=ids).logits[0] / proof["temperature"]
        for place, recorded in zip(case["places"], case["logprobs"], strict=True):
            found = torch.log_softmax(logits[place - 1], dim=-1)[case["ids"][place]].item()
            worst, compared = max(worst, abs(found - recorded)), compared + 1
    assert compared > 0
    return worst
