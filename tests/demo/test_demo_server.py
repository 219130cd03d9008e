"""The demo's tool server as a process: it keeps the contract, and right calls earn the reward."""

from __future__ import annotations

import http.client
import json
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from graders.kinds.base import Sample
from graders.kinds.registry import load_grader
from graders.sandbox import probe
from graders.sandbox.client import PythonSandbox
from hone.demo.world.company import company
from hone.demo.world.questions import FAMILIES, Step, ask
from hone.demo.world.tasks import VALIDATION_COMPANIES, as_row, grader_spec
from hone.demo.world.tools import TOOLS


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        number: int = free.getsockname()[1]
    process = subprocess.Popen([sys.executable, "-m", "hone.demo.server", "--port", str(number)])
    for _ in range(300):
        try:
            socket.create_connection(("127.0.0.1", number), 1).close()
            break
        except OSError:
            time.sleep(0.1)
    yield number
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0


@pytest.fixture
def connection(port: int) -> Iterator[http.client.HTTPConnection]:
    made = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    yield made
    made.close()


def _send(
    connection: http.client.HTTPConnection, body: bytes, path: str = "/", method: str = "POST"
) -> tuple[int, dict[str, Any]]:
    connection.request(method, path, body)
    response = connection.getresponse()
    return response.status, json.loads(response.read())


def _call(
    connection: http.client.HTTPConnection,
    tool: object,
    arguments: object,
    item: object = None,
    path: str = "/",
) -> tuple[int, dict[str, Any]]:
    body = {
        "type": "function_call",
        "id": "fc_1",
        "call_id": "call_1",
        "name": tool,
        "arguments": json.dumps(arguments),
        "trace_id": "trace_1",
        "item": {"company": 5001} if item is None else item,
    }
    return _send(connection, json.dumps(body).encode(), path)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[PythonSandbox]:
    if probe().level == "none":
        pytest.skip(f"no isolation for Python graders here: {probe().reason}")
    with PythonSandbox() as started:
        yield started


def _reward(
    sandbox: PythonSandbox, row: dict[str, Any], text: str, calls: Sequence[Step] = ()
) -> float | None:
    made = [{"function": {"name": call.tool, "arguments": call.argument}} for call in calls]
    sample = Sample(output_text=text, output_tools=made)
    return load_grader(grader_spec(), python=sandbox).grade(sample, row).reward


@pytest.mark.parametrize("family", FAMILIES)
def test_right_calls_find_the_answer_and_earn_one(
    connection: http.client.HTTPConnection, sandbox: PythonSandbox, family: str
) -> None:
    dice = random.Random(family)
    for _ in range(8):
        number = dice.choice(VALIDATION_COMPANIES)
        question = ask(company(number), family, dice)
        row = as_row(number, question)
        output = ""
        for step in question.steps:
            arguments = {TOOLS[step.tool][1]: step.argument}
            status, reply = _call(connection, step.tool, arguments, row, f"/{step.tool}")
            assert (status, reply["type"], reply["call_id"], reply["id"]) == (
                200,
                "function_call_output",
                "call_1",
                "fc_1",
            )
            output = reply["output"]
        (answer,) = [word for word in output.replace(";", "").split() if word == question.answer]
        assert _reward(sandbox, row, answer, question.steps) == 1.0


def test_other_answers_earn_little_or_nothing(sandbox: PythonSandbox) -> None:
    row = {"answer": "42"}
    assert _reward(sandbox, row, "it is 42") == pytest.approx(0.1)
    assert _reward(sandbox, row, "41") == 0.0
    assert _reward(sandbox, row, "") == 0.0


def test_a_repeated_call_costs_a_fifth_of_the_right_answer(sandbox: PythonSandbox) -> None:
    again = [Step("search", "lamp")] * 3
    assert _reward(sandbox, {"answer": "42"}, "42", again) == pytest.approx(0.9 * 0.6 + 0.1)


def test_a_mistake_of_the_model_is_answered_in_words(
    connection: http.client.HTTPConnection,
) -> None:
    for tool, arguments, says in (
        ("read", {"document": "invoice 1"}, "Error: no document invoice 1"),
        ("calculate", {"expression": "1/0"}, "Error: cannot calculate 1/0"),
        ("search", {"words": "x"}, "Error: search takes one text, query"),
    ):
        status, reply = _call(connection, tool, arguments)
        assert (status, reply["output"]) == (200, says)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"{}",
        b"\xff",
        b"[" * 100_000,
        b"9" * 5000,
        b'{"name":"read","call_id":"1","arguments":"{","item":{}}',
        b'{"name":"read","call_id":"1","arguments":"[1]","item":{}}',
        b'{"name":"read","call_id":"1","arguments":{},"item":{}}',
        b'{"name":"read","call_id":"1","arguments":"{}","item":[]}',
        b'{"name":"read","call_id":"1","arguments":"{}"}',
    ],
)
def test_what_is_no_call_is_a_400(connection: http.client.HTTPConnection, body: bytes) -> None:
    status, reply = _send(connection, body)
    assert status == 400
    assert reply["error"]
    assert _send(connection, b"", "/healthz", "GET")[0] == 200


@pytest.mark.parametrize(
    ("tool", "path"), [("find", "/"), ("find", "/find"), ("read", "/search"), (["read"], "/")]
)
def test_an_unknown_tool_is_a_404(
    connection: http.client.HTTPConnection, tool: object, path: str
) -> None:
    status, reply = _call(connection, tool, {}, path=path)
    assert (status, "no tool" in reply["error"]) == (404, True)


def test_it_says_that_it_is_well_and_takes_only_posts(
    connection: http.client.HTTPConnection,
) -> None:
    assert _send(connection, b"", "/healthz", "GET") == (200, {"status": "ok"})
    assert _send(connection, b"", "/", "GET") == (405, {"error": "POST a function call"})


def test_a_connection_is_kept_between_calls(connection: http.client.HTTPConnection) -> None:
    _call(connection, "calculate", {"expression": "1+1"})
    first = connection.sock
    assert _call(connection, "calculate", {"expression": "2+2"})[1]["output"] == "4"
    assert connection.sock is first


@pytest.mark.parametrize(
    "sent",
    [
        b"hello\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        b"x" * 200_000,
    ],
)
def test_what_is_not_http_ends_only_its_own_connection(port: int, sent: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port), 5) as rude:
        try:
            rude.sendall(sent)
            assert rude.recv(100) == b""
        except ConnectionError:
            pass
    polite = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    assert _send(polite, b"", "/healthz", "GET")[0] == 200
    polite.close()
