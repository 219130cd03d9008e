"""The contract test: what it calls, what it says, and how the schedule runs it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django.fixtures import Settings

from hone.accounts.models import AuditEntry, Organisation, User
from hone.core.errors import UserError
from hone.tools.models import CheckStatus, Tool, ToolCheck
from hone.tools.services import (
    ToolFields,
    tool_archive,
    tool_check_ask,
    tool_check_run,
    tool_checks_due,
    tool_create,
    tool_schedule_set,
    tool_version_add,
)
from hone.tools.services import checks as module
from jobs.management.commands.sweep import look

pytestmark = pytest.mark.django_db(transaction=True)

SCHEMA = {
    "type": "object",
    "properties": {"id": {"type": "integer", "examples": [5512]}},
    "required": ["id"],
}
HEADERS = {"Authorization": "Bearer canary-4711"}


class Endpoint(BaseHTTPRequestHandler):
    """A tool that does as its path says; the server counts what it was sent."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server: Any = self.server
        with server.lock:
            server.calls.append((self.path, self.headers.get("Authorization"), body["arguments"]))
            number = len(server.calls)
        status, reply = self.answer(body, number)
        text = json.dumps(reply).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def answer(self, body: dict[str, Any], number: int) -> tuple[int, dict[str, Any]]:
        missing = "id" not in json.loads(body["arguments"])
        if self.path == "/down":
            return 503, {"error": "down"}
        if self.path == "/open":
            return (500, {"error": "KeyError"}) if missing else (200, {"output": str(number)})
        if self.headers.get("Authorization") != HEADERS["Authorization"]:
            return 401, {"error": "no"}
        if missing:
            return 400, {"error": "id is missing"}
        if self.path == "/limited" and number > 12:
            return 429, {"error": "slow down"}
        return 200, {"output": "sent on 3 May", "call_id": body["call_id"]}

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


class Server(ThreadingHTTPServer):
    request_queue_size = 128


@pytest.fixture
def server(settings: Settings) -> Iterator[Any]:
    made: Any = Server(("127.0.0.1", 0), Endpoint)
    made.calls, made.lock = [], threading.Lock()
    made.place = f"127.0.0.1:{made.server_port}"
    settings.OUTBOUND_ALLOW = (made.place,)
    thread = threading.Thread(target=made.serve_forever, args=(0.01,))
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


@pytest.fixture
def rung(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The bells that were rung, instead of a broker."""
    heard: list[int] = []
    monkeypatch.setattr(module, "ring", lambda task, argument: heard.append(int(argument)))
    return heard


Make = Callable[..., Tool]


@pytest.fixture
def make(bob: User, organisation: Organisation, server: Any, rung: list[int]) -> Make:
    def made(path: str, **fields: Any) -> Tool:
        fields = {"parameters": SCHEMA, "headers": HEADERS, "rate_limit": 100.0, **fields}
        url = f"http://{server.place}{path}"
        return tool_create(
            acting_user=bob,
            organisation=organisation,
            name=f"t{Tool.objects.count()}",
            fields=ToolFields(url=url, **fields),
        ).tool

    return made


def outcome_of(bob: User, tool: Tool, **asked: Any) -> ToolCheck:
    check = tool_check_ask(acting_user=bob, tool=tool, **asked)
    done = tool_check_run(check.pk)
    assert done is not None
    return done


def marks(check: ToolCheck) -> dict[str, str]:
    return {line["key"]: line["mark"] for line in check.lines}


def test_a_good_tool_passes_every_line(make: Make, bob: User, server: Any) -> None:
    check = outcome_of(bob, make("/good"))
    assert marks(check) == {
        "address": "ok",
        "answer": "ok",
        "time": "ok",
        "size": "ok",
        "key": "ok",
        "arguments": "ok",
        "repeat": "ok",
    }
    assert (check.status, check.error, check.calls, check.faults) == (CheckStatus.OK, "", 10, 0)
    assert check.p50_s is not None
    assert check.p95_s is not None
    assert check.p50_s <= check.p95_s
    assert len(server.calls) == 10
    assert json.loads(server.calls[0][2]) == {"id": 5512}
    assert [key for _, key, _ in server.calls].count("wrong-key-of-the-contract-test") == 1


def test_a_tool_without_a_lock_that_forgets_and_breaks_gets_three_warnings(
    make: Make, bob: User
) -> None:
    check = outcome_of(bob, make("/open"))
    found = marks(check)
    assert (found["key"], found["arguments"], found["repeat"]) == ("warning",) * 3
    assert check.status == CheckStatus.WARNING
    assert check.error == "It answers a wrong key too, so anybody may call it."
    assert check.faults == 1


def test_a_tool_that_is_down_is_a_problem_and_nothing_more_is_asked_of_it(
    make: Make, bob: User, server: Any
) -> None:
    check = outcome_of(bob, make("/down"))
    assert check.status == CheckStatus.PROBLEM
    assert check.error == "t0 answered HTTP 503."
    assert marks(check) == {"address": "ok", "answer": "problem", "rest": "skipped"}
    assert len(server.calls) == 1


def test_a_blocked_address_reads_as_everywhere_and_is_not_called(
    make: Make, bob: User, server: Any, settings: Settings
) -> None:
    tool = make("/good")
    settings.OUTBOUND_ALLOW = ()
    check = outcome_of(bob, tool)
    assert check.error.startswith("This address may not be called from here.")
    assert server.calls == []


def test_the_load_is_the_rate_for_some_seconds_and_429_is_a_warning(
    make: Make, bob: User, server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hone.tools.services.contract.LOAD_S", 0.5)
    check = outcome_of(bob, make("/limited", rate_limit=20.0), with_load=True)
    assert marks(check)["load"] == "warning"
    assert "refused with HTTP 429" in check.lines[-1]["text"]
    assert len(server.calls) == 10 + 10
    monkeypatch.setattr("hone.tools.services.contract.MOST_LOAD_CALLS", 5)
    check = outcome_of(bob, make("/good", rate_limit=20.0), with_load=True)
    assert marks(check)["load"] == "ok", check.lines
    assert check.lines[-1]["text"].startswith("5 calls, ")


def test_a_tool_that_writes_is_called_three_times_when_asked_and_never_by_the_schedule(
    make: Make, bob: User, server: Any, rung: list[int]
) -> None:
    tool = make("/good", effects="writes")
    check = outcome_of(bob, tool)
    assert len(server.calls) == 3
    assert marks(check)["time"] == "skipped"
    with pytest.raises(UserError, match="writes, so it is not tested under load"):
        tool_check_ask(acting_user=bob, tool=tool, with_load=True)
    del server.calls[:]
    tool_schedule_set(acting_user=bob, tool=tool, every_min=15)
    Tool.objects.update(next_check_at=timezone.now() - timedelta(minutes=1))
    assert tool_checks_due() == 1
    done = tool_check_run(rung[-1])
    assert done is not None
    assert server.calls == []
    assert set(marks(done).values()) == {"ok", "skipped"}


def test_the_schedule_queues_once_a_period_and_by_nobody(
    make: Make, bob: User, rung: list[int]
) -> None:
    tool = make("/good")
    assert tool_checks_due() == 0
    tool = tool_schedule_set(acting_user=bob, tool=tool, every_min=60)
    assert tool.next_check_at is not None
    minutes = (tool.next_check_at - timezone.now()).total_seconds() / 60
    assert 59 < minutes < 61
    Tool.objects.update(next_check_at=timezone.now() - timedelta(seconds=1))
    assert [tool_checks_due(), tool_checks_due()] == [1, 0]
    check = ToolCheck.objects.get()
    assert (check.created_by, rung) == (None, [check.pk])
    tool_archive(acting_user=bob, tool=tool)
    Tool.objects.update(next_check_at=timezone.now() - timedelta(seconds=1))
    assert tool_checks_due() == 0
    with pytest.raises(UserError, match="7 minutes is none of 0, 15, 60, 1440"):
        tool_schedule_set(acting_user=bob, tool=tool, every_min=7)


def test_the_sweeper_looks_after_the_schedule(make: Make, bob: User, rung: list[int]) -> None:
    tool_schedule_set(acting_user=bob, tool=make("/good"), every_min=15)
    Tool.objects.update(next_check_at=timezone.now() - timedelta(seconds=1))
    look()
    assert rung == [ToolCheck.objects.get().pk]


def test_one_test_at_a_time_and_each_is_run_once(make: Make, bob: User) -> None:
    tool = make("/good")
    check = tool_check_ask(acting_user=bob, tool=tool)
    with pytest.raises(UserError, match="is under way"):
        tool_check_ask(acting_user=bob, tool=tool)
    assert tool_check_run(check.pk) is not None
    assert tool_check_run(check.pk) is None
    assert AuditEntry.objects.filter(action="tool.check").count() == 1


def test_a_lost_bell_is_rung_again_and_a_lost_worker_ends_the_test(
    make: Make, bob: User, rung: list[int]
) -> None:
    check = tool_check_ask(acting_user=bob, tool=make("/good"))
    tool_checks_due()
    assert rung == [check.pk]
    ToolCheck.objects.update(created_at=timezone.now() - timedelta(minutes=2))
    tool_checks_due()
    tool_checks_due()
    assert rung == [check.pk, check.pk]
    ToolCheck.objects.update(
        status=CheckStatus.RUNNING, started_at=timezone.now() - timedelta(minutes=16)
    )
    tool_checks_due()
    check.refresh_from_db()
    assert check.status == CheckStatus.PROBLEM
    assert check.error == "The worker that ran this test is gone. Run it again."


def test_the_arguments_that_were_given_are_those_of_the_next_tests_too(
    make: Make, bob: User, server: Any
) -> None:
    tool = make("/good")
    outcome_of(bob, tool, arguments='{"id": 7}')
    assert json.loads(server.calls[0][2]) == {"id": 7}
    with pytest.raises(UserError):
        tool_check_ask(acting_user=bob, tool=tool, arguments="[1]")
    tool.refresh_from_db()
    assert tool.check_arguments == '{"id": 7}'


def test_old_tests_go_and_the_newest_stay(
    make: Make, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "KEPT", 3)
    tool = make("/down")
    outcome_of(bob, tool)
    tool_version_add(
        acting_user=bob, tool=tool, fields=ToolFields(url="https://tools.example.org/x")
    )
    for _ in range(4):
        ToolCheck.objects.create(version=tool.versions.last(), status=CheckStatus.OK)
    last = tool_check_ask(acting_user=bob, tool=tool)
    monkeypatch.setattr("hone.tools.services.contract.run", lambda *args, **options: None)
    tool_check_run(last.pk)
    assert ToolCheck.objects.count() == 3
    assert ToolCheck.objects.latest("pk") == last


def test_the_page_shows_the_lines_the_history_and_no_secret(
    make: Make, bob: User, rung: list[int]
) -> None:
    tool, member = make("/good"), Client()
    member.force_login(bob)
    sent = member.post(f"/tools/{tool.pk}/check/", {"arguments": '{"id": 1}', "with_load": ""})
    assert sent["Location"] == f"/tools/{tool.pk}/#contract"
    page = member.get(f"/tools/{tool.pk}/").content.decode()
    assert "Waiting for a worker." in page
    assert 'hx-trigger="every 1s"' in page
    tool_check_run(rung[0])
    part = member.get(
        f"/tools/{tool.pk}/", headers={"HX-Request": "true", "HX-Target": "contract"}
    ).content.decode()
    assert "A wrong key is refused with HTTP 401." in part
    assert "hx-trigger" not in part
    assert "<html" not in part
    assert "canary" not in part
    listed = member.get("/tools/").content.decode()
    assert "Answering" in listed
    assert member.post(f"/tools/{tool.pk}/schedule/", {"every_min": "60"}).status_code == 302
    tool.refresh_from_db()
    assert tool.check_every_min == 60
