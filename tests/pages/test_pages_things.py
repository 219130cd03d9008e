"""Datasets, tools and graders through their pages: made, refused, tried, archived."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from graders.models import Grader, GraderVersion
from graders.starts import STARTS
from hone.accounts.models import AuditEntry, User
from hone.datasets.models import Dataset, DatasetVersion
from hone.datasets.services import dataset_version_add
from hone.tools.models import Tool, ToolVersion
from jobs.models import Job
from jobs.services.control import job_cancel
from tests.pages.conftest import Things, jsonl
from tests.pages_jobs import story

SignedIn = Callable[[User], Client]


@pytest.fixture
def member(bob: User, signed_in: SignedIn) -> Client:
    return signed_in(bob)


def file(content: bytes) -> SimpleUploadedFile:
    return SimpleUploadedFile("tasks.jsonl", content)


def test_a_dataset_is_uploaded_and_shown(member: Client) -> None:
    form = {"name": "refunds", "upload": file(jsonl(12, order_id=7))}
    page = member.post("/datasets/new/", form, follow=True).content.decode()
    assert "refunds v1 is stored with 12 rows." in page
    assert "order_id" in page
    assert DatasetVersion.objects.get().sha256 in page


def test_a_bad_file_is_reported_by_line_and_field_and_nothing_is_stored(member: Client) -> None:
    bad = b'{"messages": [{"role": "assistant", "content": "hi"}]}\n'
    form = {"name": "refunds", "upload": file(jsonl(12) + bad)}
    page = member.post("/datasets/new/", form).content.decode()
    assert "Nothing was stored: 1 problem in this file" in page
    assert '<td class="num" data-label="Line">13</td>' in page
    assert "messages[0].role" in page
    assert "must end with `user`" in page
    assert 'value="refunds"' in page
    assert Dataset.objects.count() == 0


@pytest.mark.parametrize(
    ("called", "typed", "name"),
    [("tasks.v2.jsonl", " ", "tasks.v2"), ("A.JSONL", "", "A"), ("a.jsonl", "mine", "mine")],
)
def test_a_dataset_without_a_name_takes_the_files(
    member: Client, called: str, typed: str, name: str
) -> None:
    form = {"name": typed, "upload": SimpleUploadedFile(called, jsonl(12))}
    assert member.post("/datasets/new/", form).status_code == 302
    assert Dataset.objects.get().name == name


def test_an_empty_file_is_no_line(member: Client) -> None:
    page = member.post("/datasets/new/", {"upload": file(b"")}).content.decode()
    assert '<td class="num" data-label="Line">–</td>' in page
    assert "The file is empty. Choose one with at least 10 tasks." in page


def test_a_name_that_is_too_long_is_refused_with_its_length(member: Client) -> None:
    form = {"name": "x" * 201, "upload": file(jsonl(12))}
    page = member.post("/datasets/new/", form).content.decode()
    assert "This has 201 characters; at most 200 fit. Shorten it." in page


def test_no_file_is_refused_in_words(member: Client) -> None:
    page = member.post("/datasets/new/", {"name": "refunds"}).content.decode()
    assert "No file was chosen" in page
    assert 'value="refunds"' in page


def test_the_next_version_is_uploaded_and_the_same_file_refused(
    member: Client, things: Things
) -> None:
    path = f"/datasets/{things.dataset.pk}/new/"
    assert member.post(path, {"upload": file(jsonl(15))}).status_code == 302
    page = member.post(path, {"upload": file(jsonl(15))}).content.decode()
    assert "is version 2" in page
    assert things.dataset.versions.count() == 2


def test_rows_are_paged_by_their_number(member: Client) -> None:
    member.post("/datasets/new/", {"name": "long", "upload": file(jsonl(120))})
    path = f"/datasets/{Dataset.objects.get().pk}/v1/rows/"
    first = member.get(path).content.decode()
    assert 'href="?from=51"' in first
    last = member.get(f"{path}?from=101").content.decode()
    assert 'id="row-120"' in last
    assert 'rel="next"' not in last
    for odd in ("0", "-3", "x", "9" * 30, "²"):
        assert member.get(path, {"from": odd}).status_code == 200
    past = member.get(f"{path}?from=121").content.decode()
    assert "There is no row 121; the last one is 120." in past


def test_hostile_text_stays_text(member: Client, things: Things) -> None:
    page = member.get(f"/datasets/{things.dataset.pk}/v1/rows/").content.decode()
    assert "<script>alert(1)" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "⟦U+202E⟧" in page


@pytest.mark.parametrize("kind", ["dataset", "tool", "grader"])
def test_what_is_archived_leaves_its_list(member: Client, things: Things, kind: str) -> None:
    row: Any = getattr(things, kind)
    member.post(f"/{kind}s/{row.pk}/archive/")
    row.refresh_from_db()
    assert row.archived
    page = member.get(f"/{kind}s/{row.pk}/").content.decode()
    assert "Archived" in page
    assert "/archive/" not in page


def words(page: str) -> str:
    """A page's main part as it is read."""
    return " ".join(re.sub(r"<[^>]*>", " ", page.split("<main", 1)[1]).split())


def test_an_owner_deletes_a_dataset_for_good(
    alice: User,
    things: Things,
    signed_in: SignedIn,
    django_capture_on_commit_callbacks: Callable[..., Any],
) -> None:
    key = things.dataset.versions.get().storage_key
    path = f"/datasets/{things.dataset.pk}/delete/"
    browser = signed_in(alice)
    assert path in browser.get(f"/datasets/{things.dataset.pk}/").content.decode()
    asked = words(browser.get(path).content.decode())
    assert "Its only version and that version's rows are removed for good." in asked
    assert "No job uses it." in asked
    assert (Dataset.objects.count(), default_storage.exists(key)) == (1, True)
    with django_capture_on_commit_callbacks(execute=True):
        page = browser.post(path, follow=True).content.decode()
    assert "first is deleted, with all its versions." in page
    assert (Dataset.objects.count(), default_storage.exists(key)) == (0, False)
    entry = AuditEntry.objects.get(action="dataset.delete")
    assert (entry.target, entry.detail) == (things.dataset.pk, {"name": "first"})
    assert browser.get(path).status_code == 404


def test_deleting_a_dataset_asks_with_the_number_of_jobs_that_use_it(
    alice: User, things: Things, signed_in: SignedIn, tmp_path: Path
) -> None:
    dataset, browser = things.dataset, signed_in(alice)
    first = dataset.versions.get()
    second = dataset_version_add(
        acting_user=alice, dataset=dataset, upload=ContentFile(jsonl(12, more=1))
    )

    grader = things.grader.versions.get()

    def job(version: DatasetVersion, name: str) -> Job:
        return story.job_make(
            alice, dataset.organisation, tmp_path, name=name, version=version, grader=grader
        )

    def asked() -> str:
        return words(browser.get(f"/datasets/{dataset.pk}/delete/").content.decode())

    one = job(first, "one")
    assert "All 2 versions and their rows are removed for good." in asked()
    assert "1 job that is not finished uses it and will fail." in asked()
    assert "No finished job used it." in asked()
    two = job(second, "two")
    assert "2 jobs that are not finished use it and will fail." in asked()
    job_cancel(acting_user=alice, job=one)
    assert "1 job that is not finished uses it" in asked()
    assert "1 finished job used it: it keeps its results" in asked()
    job_cancel(acting_user=alice, job=two)
    assert "not finished" not in asked()
    assert "2 finished jobs used it: they keep their results" in asked()


def test_a_member_may_archive_a_dataset_and_not_delete_it(member: Client, things: Things) -> None:
    page = member.get(f"/datasets/{things.dataset.pk}/").content.decode()
    assert "/archive/" in page
    assert "/delete/" not in page
    path = f"/datasets/{things.dataset.pk}/delete/"
    assert [member.get(path).status_code, member.post(path).status_code] == [403, 403]
    assert Dataset.objects.count() == 1


class Answering(BaseHTTPRequestHandler):
    status = 200

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        output = json.dumps({"asked": json.loads(asked["arguments"]), "item": asked["item"]})
        body = {"type": "function_call_output", "call_id": asked["call_id"], "output": output}
        content = json.dumps(body).encode()
        self.send_response(self.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        return


@pytest.fixture
def tool_url(settings: Any) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    settings.OUTBOUND_ALLOW = (f"127.0.0.1:{server.server_port}",)
    yield f"http://127.0.0.1:{server.server_port}/lookup"
    server.shutdown()
    server.server_close()


def tool_form(url: str, **more: str) -> dict[str, str]:
    form = {
        "name": "lookup",
        "url": url,
        "parameters": '{"type": "object", "properties": {"id": {"type": "integer"}}}',
        "effects": "reads",
        "timeout_s": "5",
        "max_concurrency": "8",
        "headers": "Authorization: Bearer hush-hush",
    }
    return {**form, **more}


def test_a_tool_is_registered_and_called(member: Client, tool_url: str) -> None:
    member.post("/tools/new/", tool_form(tool_url))
    path = f"/tools/{Tool.objects.get().pk}/"
    assert "&#34;id&#34;: 1" in member.get(path).content.decode()
    call = {"arguments": '{"id": 5512}', "item": '{"row": 3}'}
    page = member.post(f"{path}call/", call).content.decode()
    assert "Answered." in page
    assert "5512" in page
    assert "<dd>200</dd>" in page
    assert "hush" not in page


def test_a_blocked_address_is_a_fault_in_words(member: Client, things: Things) -> None:
    version: ToolVersion = things.tool.versions.get()
    ToolVersion.objects.filter(pk=version.pk).update(url="http://127.0.0.1:9/x")
    form = {"arguments": "{}", "item": ""}
    page = member.post(f"/tools/{things.tool.pk}/call/", form).content.decode()
    assert "Tool fault." in page
    assert "may not be called from here" in page


def test_arguments_that_are_no_json_keep_their_text(member: Client, things: Things) -> None:
    form = {"arguments": '{"id": ', "item": "[]"}
    page = member.post(f"/tools/{things.tool.pk}/call/", form).content.decode()
    assert "problem" in page
    assert "{&#34;id&#34;: " in page


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("name", "two words", "is no tool name"),
        ("url", "ftp://example.org/", "ftp"),
        ("parameters", "{", "Line 1"),
        ("parameters", '{"type": "list"}', "arguments are an object"),
        ("headers", "no colon here", "Line 1 is no header"),
        ("timeout_s", "9999", "at most 600"),
        ("max_concurrency", "0", "1 to 256"),
    ],
)
def test_a_refused_tool_keeps_what_was_typed(
    member: Client, field: str, value: str, said: str
) -> None:
    form = tool_form("https://tools.example.org/x", description="typed before")
    form[field] = value
    page = member.post("/tools/new/", form).content.decode()
    assert said in page
    assert "typed before" in page
    assert Tool.objects.count() == 0


def test_masked_headers_are_kept_by_the_next_version(member: Client, things: Things) -> None:
    path = f"/tools/{things.tool.pk}/edit/"
    assert "hush" not in member.get(path).content.decode()
    form = tool_form("https://tools.example.org/y", headers="Authorization: **********")
    assert member.post(path, form).status_code == 302
    assert things.tool.versions.count() == 2
    newest = things.tool.versions.order_by("-number")[0]
    assert newest.header_names == ["Authorization"]


SAMPLE = {"output_text": "Paris", "output_tools": "", "item": '{"answer": "Paris"}'}


def test_a_grader_is_tried_without_being_saved(member: Client, things: Things) -> None:
    path = f"/graders/{things.grader.pk}/edit/"
    spec = json.dumps(things.grader.versions.get().spec)
    page = member.post(path, {**SAMPLE, "spec": spec, "do": "try", "edited": "1"})
    assert "1.000" in page.content.decode()
    assert things.grader.versions.count() == 1


def test_a_refused_trial_says_that_it_was_not_run(member: Client) -> None:
    spec = {**STARTS["string_check"], "input": "{{sample.outptu_text}}"}
    form = {**SAMPLE, "spec": json.dumps(spec), "do": "try"}
    page = member.post("/graders/new/?kind=string_check", form).content.decode()
    assert "It was not run." in page
    assert "Did you mean `output_text`?" in page


def test_a_grader_is_made_from_a_template(member: Client) -> None:
    source = "def grade(sample, item):\r\n    return 0.5\r\n"
    form = {**SAMPLE, "name": "half", "source": source, "do": "save"}
    assert member.post("/graders/new/?kind=python", form).status_code == 302
    spec = GraderVersion.objects.get().spec
    assert spec["source"] == "def grade(sample, item):\n    return 0.5\n"


def test_a_refused_grader_keeps_its_text(member: Client) -> None:
    form = {**SAMPLE, "name": "half", "source": "def grade(sample:", "do": "save"}
    page = member.post("/graders/new/?kind=python", form).content.decode()
    assert '<a href="#id_source">Source</a>: Line 1: ' in page
    assert "def grade(sample:" in page
    assert Grader.objects.count() == 0


def unsaved(page: Any) -> str:
    found = re.search(r'data-unsaved="(\w+)"', page.content.decode())
    assert found is not None
    return found[1]


def test_the_editor_knows_what_is_not_saved(member: Client, things: Things) -> None:
    path = f"/graders/{things.grader.pk}/edit/"
    shown = member.get(path)
    assert unsaved(shown) == "no"
    spec = shown.context["form"].initial["spec"].replace("\n", "\r\n")
    run = {**SAMPLE, "spec": spec, "do": "try", "edited": "1"}
    assert unsaved(member.post(path, run)) == "no"
    assert unsaved(member.post(path, {**run, "output_text": "Rome"})) == "yes"


def test_the_second_of_two_savers_keeps_the_text_and_saves_on_top(
    member: Client, things: Things
) -> None:
    path = f"/graders/{things.grader.pk}/edit/"
    spec = things.grader.versions.get().spec
    mine, theirs = ({**spec, "operation": name} for name in ("ne", "like"))
    form = {**SAMPLE, "do": "save", "edited": "1"}
    member.post(path, {**form, "spec": json.dumps(theirs)})
    page = member.post(path, {**form, "spec": json.dumps(mine)}).content.decode()
    assert "while you edited v1" in page
    assert "&#34;ne&#34;" in page
    assert 'name="edited" value="2"' in page
    assert things.grader.versions.count() == 2


def test_a_sample_that_is_no_json_is_refused_at_its_field(member: Client, things: Things) -> None:
    spec = json.dumps(things.grader.versions.get().spec)
    form = {**SAMPLE, "spec": spec, "do": "try", "output_tools": "{}"}
    page = member.post(f"/graders/{things.grader.pk}/edit/", form).content.decode()
    assert "Tool calls are a list of objects." in page


@pytest.mark.parametrize("path", ["/datasets/", "/tools/", "/graders/"])
def test_a_list_asks_the_database_the_same_for_one_and_for_twenty(
    member: Client, make: Callable[[str], Things], path: str
) -> None:
    def queries() -> int:
        with CaptureQueriesContext(
            connection,
        ) as asked:
            assert member.get(path).status_code == 200
        return len(asked)

    make("n0")
    once = queries()
    for n in range(1, 20):
        make(f"n{n}")
    assert queries() == once <= 12


def test_a_grader_and_a_dataset_say_how_many_things_use_them(
    member: Client, alice: User, things: Things, tmp_path: Path
) -> None:
    version, grader = things.dataset.versions.get(), things.grader.versions.get()
    organisation = things.dataset.organisation
    for name in ("one", "two"):
        story.job_make(alice, organisation, tmp_path, name=name, version=version, grader=grader)
    graders = member.get("/graders/").content.decode()
    assert f'<td class="num">2</td><td><time datetime="{grader.created_at:%Y-%m-%d}' in graders
    [row] = member.get("/datasets/").context["rows"]
    assert (row["used"], row["looked"], row["tokens"]) == (2, False, None)
