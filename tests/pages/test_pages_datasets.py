"""Datasets at real size: sent in parts, followed on a page, split, compared, found and fetched."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from hone.accounts.models import User
from hone.datasets.models import Dataset, DatasetVersion, Intake
from hone.datasets.services import intakes
from hone.datasets.services.looking import findings_make
from hone.datasets.services.taking_in import intake_run
from tests.pages.conftest import HOSTILE, Things, jsonl


@pytest.fixture
def member(bob: User, signed_in: Any) -> Client:
    client: Client = signed_in(bob)
    return client


def _post(client: Client, path: str, **body: Any) -> Any:
    return client.post(path, json.dumps(body), content_type="application/json")


def _send(client: Client, content: bytes, name: str = "tasks.jsonl", size: int = 200) -> str:
    """All parts, the last first; the id of the completed upload."""
    made = _post(client, "/datasets/uploads/", filename=name, bytes=len(content)).json()
    address = f"/datasets/uploads/{made['id']}/"
    parts = [content[at : at + size] for at in range(0, len(content), size)]
    ids = [
        client.post(f"{address}parts/", {"data": SimpleUploadedFile("part", part)}).json()["id"]
        for part in reversed(parts)
    ]
    done = _post(client, f"{address}complete/", part_ids=ids[::-1]).json()
    assert (done["object"], done["status"], done["bytes"]) == ("upload", "completed", len(content))
    return str(made["id"])


def test_a_file_sent_in_parts_becomes_a_dataset(member: Client) -> None:
    upload_id = _send(member, jsonl(20))
    answer = _post(member, "/datasets/arriving/", upload_id=upload_id, name="Parts").json()
    page = member.get(answer["location"], follow=True)
    assert page.redirect_chain[0][0] == f"/datasets/{Dataset.objects.get().pk}/"
    assert "Parts v1 is stored with 20 rows." in page.content.decode()


def test_what_has_arrived_is_told_so_that_the_rest_can_be_sent(member: Client) -> None:
    made = _post(member, "/datasets/uploads/", filename="a.jsonl", bytes=6).json()
    address = f"/datasets/uploads/{made['id']}/"
    part = member.post(f"{address}parts/", {"data": SimpleUploadedFile("part", b"abc")}).json()
    state = member.get(address).json()
    assert (state["status"], [each["id"] for each in state["parts"]]) == ("pending", [part["id"]])
    assert state["parts"][0]["sha256"] == hashlib.sha256(b"abc").hexdigest()
    assert state["expires_at"] - state["created_at"] == 3600
    assert _post(member, f"{address}cancel/").json()["status"] == "cancelled"


@pytest.mark.parametrize(
    ("path", "body", "code", "param"),
    [
        ("", {"filename": "a.jsonl", "bytes": "6"}, "bytes", "bytes"),
        ("", {"filename": "a.jsonl", "bytes": True}, "bytes", "bytes"),
        ("", {"filename": 3, "bytes": 6}, "filename", "filename"),
        ("complete/", {"part_ids": "x"}, "part_ids", "part_ids"),
        ("complete/", {"part_ids": [{}]}, "part_ids", "part_ids"),
        ("parts/", {}, "data", "data"),
    ],
)
def test_refusals_are_the_contracts_error_object(
    member: Client, path: str, body: Any, code: str, param: str
) -> None:
    made = _post(member, "/datasets/uploads/", filename="a.jsonl", bytes=6).json()
    answer = _post(
        member, f"/datasets/uploads/{made['id']}/{path}" if path else "/datasets/uploads/", **body
    )
    assert answer.status_code == 400
    assert (answer.json()["error"]["code"], answer.json()["error"]["param"]) == (code, param)


@pytest.mark.parametrize("text", ["", "[1]", "{", "\ud800"])
def test_a_body_that_is_no_object_is_refused(member: Client, text: str) -> None:
    content = text.encode("utf-8", "surrogatepass")
    answer = member.post("/datasets/uploads/", content, content_type="application/json")
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "json")


def test_a_part_that_is_too_large_is_turned_away_unread(member: Client, settings: Any) -> None:
    settings.LARGEST_UPLOAD_PART = 1000
    made = _post(member, "/datasets/uploads/", filename="a.jsonl", bytes=10**7).json()
    data = {"data": SimpleUploadedFile("part", b"x" * 2 * 1024 * 1024)}
    assert member.post(f"/datasets/uploads/{made['id']}/parts/", data).status_code == 413


def test_a_large_file_by_the_plain_form_waits_for_a_worker(
    member: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hone.datasets.views.pages.SMALL_BYTES", 100)
    monkeypatch.setattr(intakes, "SMALL_BYTES", 100)
    upload = SimpleUploadedFile("big.jsonl", jsonl(20))
    page = member.post("/datasets/new/", {"upload": upload}, follow=True).content.decode()
    intake = Intake.objects.get()
    assert "Waiting for a worker" in page
    assert 'hx-trigger="every 1s"' in page
    assert "big" in member.get("/datasets/").content.decode()
    Intake.objects.update(state="running", bytes_done=500, rows_done=7)
    assert "7 rows so far" in member.get(f"/datasets/arriving/{intake.pk}/").content.decode()
    Intake.objects.update(state="waiting")
    intake_run(intake.pk)
    fragment = member.get(
        f"/datasets/arriving/{intake.pk}/", headers={"HX-Request": "true", "HX-Target": "intake"}
    )
    assert fragment["HX-Redirect"] == f"/datasets/arriving/{intake.pk}/"


def test_a_refused_file_shows_its_problems_by_line(member: Client) -> None:
    upload_id = _send(member, jsonl(12) + b"{}\n")
    answer = _post(member, "/datasets/arriving/", upload_id=upload_id).json()
    page = member.get(answer["location"]).content.decode()
    assert "Nothing was stored: 1 problem in this file" in page
    assert "Line 13 has no `messages`." in page
    assert "hx-trigger" not in page


def test_a_table_is_mapped_and_becomes_tasks(member: Client) -> None:
    table = "question,answer\n" + "".join(f"What is {n}?,{n} {HOSTILE}\n" for n in range(12))
    upload = SimpleUploadedFile("quiz.csv", table.encode())
    page = member.post("/datasets/new/", {"upload": upload}, follow=True)
    address = page.redirect_chain[-1][0]
    assert address.endswith("/columns/")
    shown = page.content.decode()
    assert "What is 0?" in shown
    assert "<script>alert" not in shown
    wrong = member.post(address, {"user": "{{nothing}}"}).content.decode()
    assert "There is no column &#x27;nothing&#x27;. The columns are question, answer." in wrong
    given = {"user": "Q: {{question}}", "keep": ["answer"]}
    preview = member.post(address, {**given, "preview": "1"}).content.decode()
    assert "Q: What is 2?" in preview
    assert not DatasetVersion.objects.exists()
    done = member.post(address, given, follow=True).content.decode()
    assert "quiz v1 is stored with 12 rows." in done
    assert member.get(address).status_code == 302


def test_an_unreadable_table_says_why(member: Client) -> None:
    upload = SimpleUploadedFile("quiz.csv", b"a,a\n1,2\n")
    page = member.post("/datasets/new/", {"upload": upload}, follow=True).content.decode()
    assert "Two columns are called &#x27;a&#x27;." in page


def test_a_version_is_split_by_a_key(member: Client, things: Things) -> None:
    upload = SimpleUploadedFile("all.jsonl", jsonl(60))
    member.post("/datasets/new/", {"upload": upload})
    version = DatasetVersion.objects.get(dataset__name="all")
    address = f"/datasets/{version.dataset_id}/v1/split/"
    assert "the key n" in member.get(address).content.decode()
    given = {"share": "0.4", "by": "n", "seed": "1", "train": "t", "validation": "v"}
    assert (
        "Give each its own" in member.post(address, {**given, "validation": "t"}).content.decode()
    )
    page = member.post(address, given, follow=True).content.decode()
    rows = {each.dataset.name: each.rows for each in DatasetVersion.objects.all()}
    assert rows["t"] + rows["v"] == 60
    assert f"t v1 is stored with {rows['t']} rows." in page


def test_the_report_is_shown_with_its_way_to_the_rows(member: Client) -> None:
    rows = [
        {"messages": [{"role": "user", "content": f"It is code-{n}."}], "answer": f"code-{n}"}
        for n in range(20)
    ]
    content = "\n".join(map(json.dumps, [*rows, rows[0]])).encode()
    member.post("/datasets/new/", {"upload": SimpleUploadedFile("leaky.jsonl", content)})
    version = DatasetVersion.objects.get()
    address = f"/datasets/{version.dataset_id}/"
    assert "A worker looks through the rows" in member.get(address).content.decode()
    findings_make(version.pk)
    page = member.get(address).content.decode()
    assert "stands in the messages of 21 of 21 rows" in page
    assert (
        f'<a href="{address}v1/rows/?from=1">1</a> and <a href="{address}v1/rows/?from=21">21</a>'
        in page
    )
    member.post(f"{address}v1/report/")
    assert "A worker looks through the rows" in member.get(address).content.decode()


def test_two_versions_are_compared(member: Client) -> None:
    for name, rows in (("one", 14), ("two", 12)):
        member.post("/datasets/new/", {"upload": SimpleUploadedFile(f"{name}.jsonl", jsonl(rows))})
    one, two = DatasetVersion.objects.order_by("created_at")
    address = f"/datasets/{two.dataset_id}/v1/overlap/"
    assert "one v1 · 14 rows" in member.get(address).content.decode()
    asked = f"{address}?other={one.pk}"
    assert "were not looked through yet" in member.get(asked).content.decode()
    for version in (one, two):
        findings_make(version.pk)
    page = member.get(asked).content.decode()
    assert "<dt>Rows that ask the same</dt><dd>12</dd>" in page


def test_a_foreign_version_is_not_compared_with(
    member: Client, things: Things, charlie: User, signed_in: Any
) -> None:
    signed_in(charlie).post(
        "/datasets/new/", {"upload": SimpleUploadedFile("theirs.jsonl", jsonl(12))}
    )
    theirs = DatasetVersion.objects.get(dataset__name="theirs")
    address = f"/datasets/{things.dataset.pk}/v1/overlap/?other="
    assert member.get(f"{address}{theirs.pk}").status_code == 404
    assert member.get(f"{address}nothing").status_code == 404


def test_rows_are_found_by_their_words(member: Client, things: Things) -> None:
    address = f"/datasets/{things.dataset.pk}/v1/rows/"
    page = member.get(address, {"q": 'WHERE "n": 7'}).content.decode()
    assert 'id="row-8"' in page
    assert "1 found in rows 1 to 12 of 12" in page
    assert (
        "No row from 1 to 12 of 12 holds these words"
        in member.get(address, {"q": "nowhere"}).content.decode()
    )


def test_the_search_stops_after_a_while_and_goes_on(
    member: Client, things: Things, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hone.datasets.selectors.MOST_BYTES_SEARCHED", 1)
    page = member.get(f"/datasets/{things.dataset.pk}/v1/rows/", {"q": "nowhere"}).content.decode()
    assert "No row from 1 to 1 of 12" in page
    assert 'href="?q=nowhere&amp;from=2"' in page


def test_a_version_is_fetched_as_it_was_uploaded(member: Client, things: Things) -> None:
    answer = member.get(f"/datasets/{things.dataset.pk}/v1/download/")
    content = b"".join(answer.streaming_content)  # type: ignore[attr-defined]
    version = things.dataset.versions.get()
    assert hashlib.sha256(content).hexdigest() == version.sha256
    assert answer["Content-Disposition"] == 'attachment; filename="first-v1.jsonl"'


def test_the_same_bytes_elsewhere_are_said(member: Client) -> None:
    for name in ("one", "two"):
        member.post("/datasets/new/", {"upload": SimpleUploadedFile(f"{name}.jsonl", jsonl(12))})
    two = Dataset.objects.get(name="two")
    page = member.get(f"/datasets/{two.pk}/").content.decode()
    assert "The same bytes are <a" in page
    assert "one v1</a>." in page
