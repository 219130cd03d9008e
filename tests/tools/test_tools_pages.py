"""The pages of tools: what is typed is refused in words, and a call shows all there is to see."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django.fixtures import Settings

from hone.accounts.models import Organisation, User
from hone.tools.models import CheckStatus, Recording, Tool, ToolCheck, ToolVersion
from hone.tools.services import ToolFields, tool_create
from tests.pages_jobs import story

SECRET = "canary-4711/x"


class Faulty(BaseHTTPRequestHandler):
    """Sends its secret back, in a body that is no answer."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        broken = json.dumps({"error": "<b>no database</b>", "key": self.headers["X-Key"]})
        body, status = (broken, 503) if self.path == "/broken" else ("<i>hello</i>" * 500, 200)
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet: the test reads the page."""


@pytest.fixture
def place(settings: Settings) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Faulty)
    settings.OUTBOUND_ALLOW = (f"127.0.0.1:{server.server_port}",)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield settings.OUTBOUND_ALLOW[0]
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def member(bob: User) -> Client:
    client = Client()
    client.force_login(bob)
    return client


def register(bob: User, organisation: Organisation, url: str) -> Tool:
    fields = ToolFields(url=url, timeout_s=60, headers={"X-Key": SECRET})
    made = tool_create(acting_user=bob, organisation=organisation, name="search", fields=fields)
    return made.tool


def call(member: Client, tool: Tool, **form: str) -> str:
    page = member.post(f"/tools/{tool.pk}/call/", {"arguments": "{}", "item": "{}", **form})
    assert page.status_code == 200
    return page.content.decode().replace("\u202f", " ")


def test_a_reply_that_is_a_fault_is_shown_escaped_and_without_the_secret(
    member: Client, bob: User, organisation: Organisation, place: str
) -> None:
    page = call(member, register(bob, organisation, f"http://{place}/broken"))
    assert "search answered HTTP 503." in page
    assert "&quot;error&quot;: &quot;&lt;b&gt;no database&lt;/b&gt;&quot;" in page
    assert "&quot;key&quot;: &quot;**********&quot;" in page
    assert "canary" not in page
    assert "<dd>503</dd>" in page
    assert "first 4 kB" not in page
    assert f"POST http://{place}/broken" in page


def test_garbage_is_shown_up_to_4_kb(
    member: Client, bob: User, organisation: Organisation, place: str
) -> None:
    page = call(member, register(bob, organisation, f"http://{place}/garbage"))
    assert page.count("&lt;i&gt;hello&lt;/i&gt;") == 341
    assert "Its first 4 kB are shown." in page
    assert "<dd>200</dd>" in page


def test_the_page_says_how_long_a_call_may_take_here(
    member: Client, bob: User, organisation: Organisation
) -> None:
    tool = register(bob, organisation, "https://tools.example.org/x")
    page = member.get(f"/tools/{tool.pk}/").content.decode().replace("\u202f", " ")
    assert "ends after 30 s; a job waits up to 1 min 00 s." in page


@pytest.mark.parametrize(
    ("item", "said"),
    [
        (r'{"x": "\ud800"}', "item holds a lone surrogate"),
        ('{"x": 1e999}', "not finite or too large"),
        ('{"x": 1, "x": 2}', "stands twice"),
        ('{"x": ' + "9" * 5000 + "}", "A number has 5000 digits"),
    ],
)
def test_a_row_that_cannot_be_sent_is_refused_in_words(
    member: Client, bob: User, organisation: Organisation, item: str, said: str
) -> None:
    page = call(member, register(bob, organisation, "https://tools.example.org/x"), item=item)
    assert said in page
    assert "sys." not in page


def test_a_header_that_is_typed_twice_is_refused_by_name(member: Client) -> None:
    form = {
        "name": "search",
        "url": "https://tools.example.org/x",
        "parameters": "{}",
        "effects": "reads",
        "timeout_s": "60",
        "max_concurrency": "1",
        "headers": "X-Key: one\nX-Team: blue\n\nx-key: two",
    }
    page = member.post("/tools/new/", form).content.decode()
    assert "Line 4 gives the header x-key a second time. Remove one." in page
    assert not ToolVersion.objects.exists()


def test_all_that_is_wrong_with_a_tool_is_said_at_once(member: Client) -> None:
    form = {
        "name": "two words",
        "url": "ftp://tools.example.org/x",
        "parameters": "{",
        "effects": "boom",
        "timeout_s": "-3",
        "max_concurrency": "many",
        "headers": "no colon",
    }
    page = member.post("/tools/new/", form).content.decode()
    for said in (
        "is no tool name",
        "The URL&#x27;s scheme is ftp; it must be http or https.",
        "Write a JSON object.",
        "The time limit is -3 s; use more than 0 and at most 600.",
        "Line 1 is no header. Write Name: value.",
        "Write a whole number from 1 to 256.",
        "&#x27;boom&#x27; is none of none, reads, writes.",
    ):
        assert page.count(said) == 2
    assert not ToolVersion.objects.exists()


@pytest.mark.parametrize(
    ("url", "warned"),
    [
        ("http://127.0.0.1:8090/x", True),
        ("http://localhost:8090/x", True),
        ("http://[::1]:8090/x", True),
        ("http://127.0.0.1:8091/x", False),
        ("https://93.184.215.14/x", False),
        ("https://tools.example.org/x", False),
    ],
)
def test_a_saved_address_that_may_not_be_called_is_saved_with_a_warning(
    member: Client, settings: Settings, url: str, warned: bool
) -> None:
    settings.OUTBOUND_ALLOW = ("127.0.0.1:8091",)
    form = {
        "name": "search",
        "url": url,
        "parameters": "{}",
        "effects": "reads",
        "timeout_s": "60",
        "max_concurrency": "1",
    }
    made = member.post("/tools/new/", form, follow=True).content.decode()
    path = f"/tools/{ToolVersion.objects.get().tool_id}/edit/"
    changed = member.post(path, {**form, "timeout_s": "59"}, follow=True).content.decode()
    warning = (
        '<div class="note note-warning"><div>This address may not be called from here. Ask the '
        "operator to allow it with HONE_OUTBOUND_ALLOW, or use a public address.</div></div>"
    )
    assert [warning in made, warning in changed] == [warned, warned]
    assert ToolVersion.objects.count() == 2


def test_a_call_that_is_refused_says_that_it_was_not_made(
    member: Client, bob: User, organisation: Organisation
) -> None:
    page = call(member, register(bob, organisation, "https://tools.example.org/x"), item="[]")
    assert "<strong>It was not called.</strong>" in page


def test_a_recorded_call_says_where_it_is_kept_and_a_fault_that_it_is_not(
    member: Client, bob: User, organisation: Organisation, place: str
) -> None:
    tool = register(bob, organisation, f"http://{place}/broken")
    form = {"arguments": "{}", "item": "{}", "record_as": "of today"}
    page = member.post(f"/tools/{tool.pk}/call/", form).content.decode()
    assert "Not recorded: a fault is nobody's answer." in page
    assert not Recording.objects.exists()


def test_whoever_may_ask_for_it_reads_what_allows_a_blocked_address(
    alice: User, bob: User, organisation: Organisation
) -> None:
    tool = register(bob, organisation, "http://127.0.0.1:8090/x")
    said = {}
    for person in (alice, bob):
        client = Client()
        client.force_login(person)
        form = {"arguments": "{}", "item": "{}"}
        said[person] = client.post(f"/tools/{tool.pk}/call/", form).content.decode()
        assert "may not be called from here" in said[person]
    assert "add <code>127.0.0.1:8090</code> to the setting" in said[alice]
    assert "127.0.0.1:8090</code>" not in said[bob]


def test_the_health_at_the_top_follows_the_contract_test(
    member: Client, bob: User, organisation: Organisation, place: str
) -> None:
    tool = register(bob, organisation, f"http://{place}/x")
    ToolCheck.objects.create(
        version=tool.versions.get(), status=CheckStatus.OK, calls=12, ended_at=timezone.now()
    )
    path, asked = f"/tools/{tool.pk}/", {"HX-Request": "true", "HX-Target": "contract"}
    part = member.get(path, headers=asked).content.decode()
    assert '<span id="health" hx-swap-oob="true">' in part
    whole = member.get(path).content.decode()
    assert '<span id="health">' in whole
    assert "hx-swap-oob" not in whole


def test_the_list_says_faults_of_a_day_and_who_uses_a_tool(
    member: Client, bob: User, organisation: Organisation, place: str, tmp_path: Path
) -> None:
    tool = register(bob, organisation, f"http://{place}/x")
    now = timezone.now()
    for hours, faults in ((1, 2), (23, 1), (25, 8)):
        check = ToolCheck.objects.create(
            version=tool.versions.get(), status=CheckStatus.OK, calls=10, faults=faults
        )
        ToolCheck.objects.filter(pk=check.pk).update(ended_at=now - timedelta(hours=hours))
    job = story.job_make(bob, organisation, tmp_path / "model")
    job.tool_versions.add(tool.versions.get())
    page = member.get("/tools/").content.decode()
    assert '<td class="num">3 of 20</td><td class="num">1</td>' in page
