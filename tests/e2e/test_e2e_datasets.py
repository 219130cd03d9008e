"""A file is dropped, sent in parts, broken off, resumed and looked at in a real browser."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.core.files.base import ContentFile
from playwright.sync_api import Page, Route, expect
from pytest_django.live_server_helper import LiveServer

from conftest import sign_in
from hone.accounts.models import Organisation, User
from hone.datasets.models import DatasetVersion, Intake, Upload, UploadPart
from hone.datasets.services import dataset_create
from hone.datasets.services.looking import findings_make
from hone.demo.base_model import WEIGHTS
from jobs.models import BaseModel
from tests import gsm8k

PART = 8 * 1024 * 1024
PATIENCE = 30_000
SAMPLE = {
    "question": "A robe takes 2 bolts of blue fibre and half that much white. How many in all?",
    "answer": "It takes 2/2=1 bolt of white.\n#### 3",
}


def _questions() -> list[dict[str, str]]:
    if not gsm8k.FILE.exists():
        return [SAMPLE] * 1319
    return [json.loads(line) for line in gsm8k.FILE.read_text("utf-8").splitlines()]


def _tasks(path: Path, size: int = 0) -> Path:
    """All questions as a task file, with padding where it must be large."""
    rows = _questions()
    padding = "." * (size // len(rows))
    with path.open("w") as file:
        for number, each in enumerate(rows):
            messages = [{"role": "user", "content": each["question"]}]
            answer = each["answer"].rpartition("#### ")[2]
            row = {"messages": messages, "ground_truth": answer, "id": f"q{number}"}
            file.write(json.dumps({**row, "notes": padding} if padding else row) + "\n")
    return path


@pytest.fixture
def address(
    transactional_db: None, live_server: LiveServer, settings: Any, tmp_path: Path, alice: User
) -> str:
    settings.MEDIA_ROOT = tmp_path / "files"
    return live_server.url


def _version() -> DatasetVersion:
    return DatasetVersion.objects.select_related("dataset").get()


def test_a_dropped_file_is_sent_in_parts_with_progress_and_checked(
    address: str, page: Page, complaints: list[str], tmp_path: Path
) -> None:
    file = _tasks(tmp_path / "gsm8k.jsonl")
    sign_in(page, address, "alice@example.org")
    page.goto(f"{address}/datasets/new/")
    page.evaluate(
        """text => {
          const given = new DataTransfer();
          given.items.add(new File([text], "gsm8k.jsonl"));
          const drop = document.querySelector("[data-drop]");
          drop.dispatchEvent(new DragEvent("drop", {dataTransfer: given, bubbles: true}));
        }""",
        file.read_text(),
    )
    page.get_by_role("button", name="Upload and check").click()
    expect(page.get_by_role("heading", name="gsm8k", exact=True)).to_be_visible(timeout=PATIENCE)
    expect(page.get_by_text(f"gsm8k v1 is stored with {len(_questions())} rows.")).to_be_visible(
        timeout=PATIENCE
    )
    assert complaints == []


def test_an_upload_that_broke_off_goes_on_after_a_reload(
    address: str, page: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hone.datasets.services.intakes.SMALL_BYTES", 10**9)
    file = _tasks(tmp_path / "large.jsonl", 3 * PART)
    parts = -(-file.stat().st_size // PART)
    sign_in(page, address, "alice@example.org")
    sent: list[str] = []

    def break_off(route: Route) -> None:
        sent.append(route.request.url)
        if len(sent) < 3:
            route.continue_()
        else:
            route.fulfill(status=400, json={"error": {"message": "The line went dead."}})

    page.route("**/parts/", break_off)
    page.goto(f"{address}/datasets/new/")
    page.get_by_label("JSONL, CSV or Parquet file").set_input_files(file)
    page.get_by_role("button", name="Upload and check").click()
    expect(page.get_by_text("The line went dead.")).to_be_visible(timeout=PATIENCE)
    assert (Upload.objects.get().status, UploadPart.objects.count()) == ("pending", 2)

    page.unroute("**/parts/")
    page.on("request", lambda request: sent.append(request.url))
    sent.clear()
    page.reload()
    page.get_by_label("JSONL, CSV or Parquet file").set_input_files(file)
    page.get_by_role("button", name="Upload and check").click()
    expect(page.get_by_text("large v1 is stored")).to_be_visible(timeout=PATIENCE)
    assert len([url for url in sent if url.endswith("/parts/")]) == parts - 2
    assert Upload.objects.count() == 1
    assert _version().bytes == file.stat().st_size


def test_a_short_break_is_bridged_and_a_stop_leaves_nothing(
    address: str, page: Page, tmp_path: Path, pictures: Path | None
) -> None:
    file = _tasks(tmp_path / "large.jsonl", PART)
    sign_in(page, address, "alice@example.org")
    broken: list[str] = []

    def break_once(route: Route) -> None:
        broken.append(route.request.url)
        if len(broken) == 1:
            route.abort("connectionreset")

    page.route("**/parts/", break_once)
    page.goto(f"{address}/datasets/new/")
    page.get_by_label("JSONL, CSV or Parquet file").set_input_files(file)
    page.get_by_role("button", name="Upload and check").click()
    expect(page.get_by_text("The connection broke. Trying again…")).to_be_visible(timeout=PATIENCE)
    page.wait_for_timeout(2_000)
    assert len(broken) == 2
    if pictures:
        page.screenshot(path=pictures / "upload-sending.png")
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_text("Stopped. Nothing was stored.")).to_be_visible(timeout=PATIENCE)
    page.wait_for_timeout(500)
    assert (Upload.objects.get().status, UploadPart.objects.count()) == ("cancelled", 0)
    page.unroute_all(behavior="ignoreErrors")


def test_a_bad_file_is_reported_and_every_page_of_datasets_is_clean(
    address: str,
    page: Page,
    complaints: list[str],
    pictures: Path | None,
    tmp_path: Path,
    organisation: Organisation,
) -> None:
    sign_in(page, address, "alice@example.org")
    pages = {}

    def sent(name: str, file: Path) -> None:
        page.goto(f"{address}/datasets/new/")
        page.get_by_label("JSONL, CSV or Parquet file").set_input_files(file)
        page.get_by_role("button", name="Upload and check").click()
        page.wait_for_url(lambda url: not url.endswith("/new/"))
        pages[name] = page.url.removeprefix(address)

    BaseModel.objects.create(name="tiny", source="tiny", folder=str(WEIGHTS), context_length=64)
    sent("dataset_report", _tasks(tmp_path / "gsm8k.jsonl"))
    bad = tmp_path / "bad.jsonl"
    bad.write_text((tmp_path / "gsm8k.jsonl").read_text() + "{}\n" * 3 + "nonsense\n")
    sent("intake_refused", bad)
    expect(page.get_by_role("heading", name="Nothing was stored: 4 problems")).to_be_visible(
        timeout=PATIENCE
    )
    table = tmp_path / "quiz.csv"
    lines = (f'"{each["question"]}",{n}' for n, each in enumerate(_questions()[:30]))
    table.write_text("question,answer\n" + "\n".join(line.replace("\n", " ") for line in lines))
    sent("columns", table)
    version = _version()
    head = (tmp_path / "gsm8k.jsonl").read_bytes().splitlines(keepends=True)[5:25]
    other = dataset_create(
        acting_user=User.objects.get(),
        organisation=organisation,
        name="gsm8k validation",
        upload=ContentFile(b"".join(head)),
    )
    for each in (version, other):
        findings_make(each.pk)
    base = f"/datasets/{version.dataset_id}/v1"
    running = Intake.objects.create(
        organisation=organisation,
        name="large",
        state="running",
        bytes_total=10**9,
        bytes_done=4 * 10**8,
        rows_done=270_000,
    )
    pages |= {
        "intake_running": f"/datasets/arriving/{running.pk}/",
        "datasets": "/datasets/",
        "dataset_split": f"{base}/split/",
        "dataset_overlap": f"{base}/overlap/?other={other.pk}",
        "dataset_rows": f"{base}/rows/?q=robe",
    }
    findings = []
    for name, path in pages.items():
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            for width in (1440, 390):
                page.set_viewport_size({"width": width, "height": 900})
                page.goto(address + path)
                page.wait_for_load_state("load")
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
