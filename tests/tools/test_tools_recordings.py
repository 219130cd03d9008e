"""Recordings: made from calls, and played as the answers of a tool and of a job's tools."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from django.http import Http404
from django.test import Client
from pytest_django.fixtures import Settings

from hone.accounts.models import Organisation, User
from hone.core.errors import UserError
from hone.core.net.recorded import Answers, Entry, packed, row_hash, unpacked
from hone.tools.models import Recording, ToolVersion
from hone.tools.selectors import access_recording, recording_answers
from hone.tools.services import (
    ToolFields,
    recording_add,
    recording_archive,
    tool_call,
    tool_create,
)
from hone.tools.services import recordings as module
from jobs.engine.rollout.recording import RecordedExecutor
from jobs.engine.rollout.tools import ToolExecutor
from jobs.engine.spec import ToolSpec
from jobs.engine.types import ToolCall


def entry(arguments: str, output: str, row: str = "", **more: Any) -> Entry:
    return Entry(
        **{"tool": "search", "arguments": arguments, "row": row, "status": "ok", "output": output}
        | more
    )


def test_the_same_call_gets_the_same_reply_however_its_arguments_are_written() -> None:
    answers = Answers("r", [entry('{"a":1,"b":2}', "found")])
    for arguments in ('{"b": 2, "a": 1}', '{"a":1,"b":2}', ' {"a" : 1, "b":2}\n'):
        found = answers.find("search", arguments, {})
        assert isinstance(found, Entry)
        assert found.output == "found"


def test_a_miss_says_so() -> None:
    answers = Answers("refunds", [entry("{}", "found")])
    assert answers.find("search", '{"a": 1}', {}) == (
        "The recording 'refunds' has no answer to search with {\"a\":1}."
    )
    assert answers.find("find", "{}", {}) == (
        "The recording 'refunds' has no answer to find with {}."
    )


def test_a_row_has_its_own_answer_and_rows_that_disagree_give_none() -> None:
    first, second = row_hash({"n": 1}), row_hash({"n": 2})
    answers = Answers("r", [entry("{}", "one", first), entry("{}", "two", second)])
    found = [answers.find("search", "{}", {"n": n}) for n in (1, 2, 3)]
    assert [each.output for each in found if isinstance(each, Entry)] == ["one", "two"]
    assert found[2] == (
        "The recording 'r' has 2 different answers to search with {}, so it gives none."
    )


def test_the_bytes_are_those_of_the_entries_and_come_back() -> None:
    entries = [entry("{}", "f\u00fcnd"), entry("{}", "no", status="tool_error", http_status=404)]
    assert unpacked(packed(entries)) == entries
    assert packed(entries) == packed(list(entries))
    assert unpacked(b"") == []
    with pytest.raises(ValueError, match="This is no recording"):
        unpacked(b"PK\x03\x04")


class Answering(BaseHTTPRequestHandler):
    """Answers with how often it was called, or refuses."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server: Any = self.server
        server.calls += 1
        bad = "bad" in body["arguments"]
        told = {"output": f"answer {server.calls} to {self.headers['X-Key']}"}
        text = json.dumps(told).encode()
        self.send_response(400 if bad else 200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


@pytest.fixture
def server(settings: Settings) -> Iterator[Any]:
    made: Any = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    made.calls = 0
    settings.OUTBOUND_ALLOW = (f"127.0.0.1:{made.server_port}",)
    thread = threading.Thread(target=made.serve_forever, args=(0.01,))
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


@pytest.fixture
def version(bob: User, organisation: Organisation, server: Any) -> ToolVersion:
    fields = ToolFields(
        url=f"http://127.0.0.1:{server.server_port}/", headers={"X-Key": "canary-4711"}
    )
    return tool_create(acting_user=bob, organisation=organisation, name="search", fields=fields)


def test_a_call_is_recorded_and_played_without_calling(
    bob: User, version: ToolVersion, server: Any
) -> None:
    for arguments in ("{}", '{"bad": 1}'):
        tool_call(acting_user=bob, version=version, arguments=arguments, item={}, record_as="mine")
    recording = Recording.objects.get()
    assert (recording.name, recording.entries, len(recording.sha256)) == ("mine", 2, 64)
    kept = unpacked(bytes(recording.content))
    assert [each.status for each in kept] == ["ok", "tool_error"]
    assert "canary" not in repr(kept)
    assert kept[0].output == "answer 1 to **********"
    played = tool_call(
        acting_user=bob, version=version, arguments=" {} ", item={}, replay=recording
    )
    assert (played.outcome.status, played.outcome.output) == ("ok", "answer 1 to **********")
    assert played.answered_by == "mine"
    missed = tool_call(
        acting_user=bob, version=version, arguments='{"q": 1}', item={}, replay=recording
    )
    assert missed.outcome.status == "fault"
    assert missed.outcome.error == "The recording 'mine' has no answer to search with {\"q\":1}."
    assert server.calls == 2


def test_a_recording_is_added_to_and_holds_each_answer_once(
    bob: User, organisation: Organisation, monkeypatch: pytest.MonkeyPatch
) -> None:
    def add(*entries: Entry) -> Recording:
        return recording_add(
            acting_user=bob, organisation=organisation, name=" r ", source="s", entries=entries
        )

    first = add(entry("{}", "one"))
    second = add(entry("{}", "one"), entry('{"a":1}', "two"))
    assert (first.pk, second.entries) == (second.pk, 2)
    assert first.sha256 != second.sha256
    monkeypatch.setattr(module, "LARGEST_PACKED", 100)
    with pytest.raises(UserError, match="at most 100 fit. Begin another one"):
        add(*(entry(json.dumps({"a": n}), f"{n}" * 50) for n in range(100)))
    assert Recording.objects.get().entries == 2
    recording_archive(acting_user=bob, recording=second)
    assert add(entry("{}", "one")).pk != second.pk


def test_a_recording_of_others_is_as_one_that_is_not_there(
    bob: User, charlie: User, organisation: Organisation
) -> None:
    made = recording_add(
        acting_user=bob, organisation=organisation, name="r", source="s", entries=[]
    )
    assert access_recording(bob, made.pk) == made
    with pytest.raises(Http404):
        access_recording(charlie, made.pk)
    assert recording_answers(made).find("search", "{}", {}) != ""


def test_in_a_rollout_nothing_is_called_and_a_miss_is_a_fault() -> None:
    tools = [ToolSpec(name="search", url="http://127.0.0.1:9/")]
    inner = ToolExecutor(tools, {}, None)  # type: ignore[arg-type]
    executor = RecordedExecutor(inner, Answers("r", [entry('{"q":1}', "found")]))
    calls = [
        ToolCall(id=f"call_{n}", name=name, arguments=arguments)
        for n, (name, arguments) in enumerate(
            [("search", '{"q": 1}'), ("search", '{"q": 2}'), ("nope", "{}")]
        )
    ]
    asyncio.run(
        executor.execute(calls, trace_id="t", item={}, offered=["search"], keys=["a", "b", "c"])
    )
    assert [(call.status, call.output) for call in calls[:2]] == [("ok", "found"), ("fault", None)]
    assert calls[1].error == "The recording 'r' has no answer to search with {\"q\":2}."
    assert calls[2].status == "malformed"
    assert [call.attempts for call in calls] == [0, 0, 0]


def test_the_pages_record_and_play(bob: User, version: ToolVersion, server: Any) -> None:
    member = Client()
    member.force_login(bob)
    address = f"/tools/{version.tool_id}/call/"
    page = member.post(address, {"arguments": "{}", "item": "{}", "record_as": "mine"})
    assert "answer 1" in page.content.decode()
    recording = Recording.objects.get()
    page = member.post(address, {"arguments": "{}", "item": "{}", "replay": recording.pk})
    assert "Nothing was called: the recording mine answered." in page.content.decode()
    page = member.post(address, {"arguments": "{}", "item": "{}", "replay": "rec-other"})
    assert "Select a valid choice" in page.content.decode()
    assert server.calls == 1
    shown = member.get(f"/recordings/{recording.pk}/").content.decode()
    assert "answer 1 to **********" in shown
    member.post(f"/recordings/{recording.pk}/archive/")
    member.get("/tools/")
    assert "mine" not in member.get("/tools/").content.decode()
