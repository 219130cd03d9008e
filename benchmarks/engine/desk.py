"""The ledger desk as TRL wants it: an environment for each rollout, and one reward function.

TRL's `tools=` are plain functions that cannot know whose rollout calls them. Its
`environment_factory` is made for tools that must: `reset` gets the dataset row, and the public
methods are the tools. Both run through the same loop of GRPOTrainer.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from graders.kinds.base import Sample
from graders.kinds.registry import load_grader
from graders.sandbox.client import PythonSandbox
from hone.demo.world.tasks import grader_spec

GRADERS = 4
"""Gradings at once, as many as Hone runs."""


class Wire:
    """One kept-alive connection to the tools: the cheapest HTTP client that Python has."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port)

    def post(self, name: str, body: bytes) -> str:
        self._connection.request("POST", f"/{name}", body, {"Content-Type": "application/json"})
        response = self._connection.getresponse()
        return _output(response.read())


class AsyncWire:
    """Kept-alive connections that share an event loop, as many as calls are open."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def post(self, name: str, body: bytes) -> str:
        streams = self._idle.pop() if self._idle else None
        reader, writer = streams or await asyncio.open_connection("127.0.0.1", self._port)
        writer.write(
            f"POST /{name} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n".encode()
            + body
        )
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        length = int(head.split("content-length:")[1].split("\r\n")[0])
        reply = await reader.readexactly(length)
        self._idle.append((reader, writer))
        return _output(reply)


def _output(reply: bytes) -> str:
    read = json.loads(reply)
    return str(read.get("output") or read.get("error"))


class _Rollout:
    """What the tools of one rollout send along."""

    def __init__(self) -> None:
        self._item: dict[str, Any] = {}
        self._trace = ""

    def reset(self, item: str, **_row: Any) -> None:
        self._item = json.loads(item)
        self._trace = f"trace_{uuid.uuid4().hex}"

    def _body(self, name: str, **arguments: str) -> bytes:
        call = uuid.uuid4().hex
        return json.dumps(
            {
                "type": "function_call",
                "id": f"fc_{call}",
                "call_id": f"call_{call}",
                "name": name,
                "arguments": json.dumps(arguments),
                "trace_id": self._trace,
                "item": self._item,
            }
        ).encode()


def blocking_desk(port: int) -> type:
    """An environment with synchronous tools."""
    wire = Wire(port)

    class Desk(_Rollout):
        def search(self, query: str) -> str:
            """Find documents by words.

            Args:
                query: The words.
            """
            return wire.post("search", self._body("search", query=query))

        def read(self, document: str) -> str:
            """Read a document.

            Args:
                document: Its title.
            """
            return wire.post("read", self._body("read", document=document))

        def calculate(self, expression: str) -> str:
            """Do arithmetic.

            Args:
                expression: What to calculate.
            """
            return wire.post("calculate", self._body("calculate", expression=expression))

    return Desk


def async_desk(port: int) -> type:
    """The same environment with asynchronous tools."""
    wire = AsyncWire(port)

    class Desk(_Rollout):
        async def search(self, query: str) -> str:
            """Find documents by words.

            Args:
                query: The words.
            """
            return await wire.post("search", self._body("search", query=query))

        async def read(self, document: str) -> str:
            """Read a document.

            Args:
                document: Its title.
            """
            return await wire.post("read", self._body("read", document=document))

        async def calculate(self, expression: str) -> str:
            """Do arithmetic.

            Args:
                expression: What to calculate.
            """
            return await wire.post("calculate", self._body("calculate", expression=expression))

    return Desk


class Reward:
    """The demo's grader over TRL's messages, in as many threads as Hone uses."""

    __name__ = "ledger_desk"

    def __init__(self, sandbox: PythonSandbox, end: int) -> None:
        self._grader = load_grader(grader_spec(), python=sandbox)
        self._end = end
        self._threads = ThreadPoolExecutor(GRADERS)

    def __call__(
        self,
        completions: list[list[dict[str, Any]]],
        completion_ids: list[list[int]],
        item: list[str],
        **_rest: Any,
    ) -> list[float | None]:
        return list(self._threads.map(self._one, completions, completion_ids, item))

    def _one(self, messages: list[dict[str, Any]], ids: list[int], item: str) -> float | None:
        """As in Hone, a rollout that a limit stopped earns at most 0."""
        grading = self._grader.grade(sample_of(messages), json.loads(item))
        if grading.reward is None:
            return None
        stopped = ids[-1] != self._end or bool(messages[-1].get("tool_calls"))
        return min(grading.reward, 0.0) if stopped else grading.reward


def sample_of(messages: list[dict[str, Any]]) -> Sample:
    """What the grader sees: the last answer, and all calls in order."""
    calls = [call["function"] for each in messages for call in each.get("tool_calls") or ()]
    last = messages[-1]
    return Sample(
        output_text=last["content"] if last["role"] == "assistant" else "",
        output_tools=[
            {
                "type": "function",
                "function": {"name": call["name"], "arguments": json.dumps(call["arguments"])},
            }
            for call in calls
        ],
    )
