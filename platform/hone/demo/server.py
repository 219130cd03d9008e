"""The demo's tool server: the three tools of the ledger desk over the function-call contract.

`python -m hone.demo.server --port 8765`. It keeps no state: the company comes with each call, in
`item`; `calculate` works without one. A mistake of the model is answered in words; a request that
is no call is a 4xx.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
from http import HTTPStatus
from typing import Any

from hone.demo.world.company import company
from hone.demo.world.tools import TOOLS, ToolMistake, call

LONGEST_BODY = 1_000_000
LONGEST_HEAD = 65_536
IDLE_S = 60.0


class BadRequest(Exception):
    """A request that is no function call."""

    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.status = status


def answer(path: str, body: bytes) -> dict[str, Any]:
    """The reply to one function call; `BadRequest` where it is none."""
    try:
        sent = json.loads(body)
        arguments = json.loads(sent["arguments"])
        number = sent["item"].get("company")
        name, call_id = str(sent["name"]), sent["call_id"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BadRequest(HTTPStatus.BAD_REQUEST, f"not a function call: {error}") from error
    if not isinstance(arguments, dict):
        raise BadRequest(HTTPStatus.BAD_REQUEST, "arguments is the JSON of an object")
    archive = company(number) if isinstance(number, int) else None
    if path.strip("/") not in {name, ""} or name not in TOOLS:
        raise BadRequest(HTTPStatus.NOT_FOUND, f"no tool {name[:40]} here")
    try:
        output = call(archive, name, arguments)
    except ToolMistake as mistake:
        output = f"Error: {mistake}"
    return {
        "type": "function_call_output",
        "id": sent.get("id", ""),
        "call_id": call_id,
        "output": output,
    }


def respond(method: str, path: str, body: bytes) -> tuple[HTTPStatus, dict[str, Any]]:
    """Status and JSON body for a request."""
    if method == "GET" and path == "/healthz":
        return HTTPStatus.OK, {"status": "ok"}
    if method != "POST":
        return HTTPStatus.METHOD_NOT_ALLOWED, {"error": "POST a function call"}
    try:
        return HTTPStatus.OK, answer(path, body)
    except BadRequest as problem:
        return problem.status, {"error": str(problem)}


async def _read_request(reader: asyncio.StreamReader) -> tuple[str, str, bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, path, _ = head[0].split(" ", 2)
    headers = dict(line.lower().split(":", 1) for line in head[1:] if ":" in line)
    length = int(headers.get("content-length", "0"))
    if not 0 <= length <= LONGEST_BODY:
        raise ValueError("body too large")
    return method, path, await reader.readexactly(length)


async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One connection, kept alive between calls."""
    try:
        while True:
            request = await asyncio.wait_for(_read_request(reader), IDLE_S)
            status, reply = respond(*request)
            body = json.dumps(reply).encode()
            writer.write(
                f"HTTP/1.1 {status.value} {status.phrase}\r\n"
                f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode()
                + body
            )
            await writer.drain()
    except (OSError, ValueError, EOFError, asyncio.LimitOverrunError, asyncio.CancelledError):
        return
    finally:
        writer.close()


async def serve(host: str, port: int) -> None:
    """Serve until SIGTERM or SIGINT."""
    server = await asyncio.start_server(handle, host, port, limit=LONGEST_HEAD, backlog=512)
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    async with server:
        await ended.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description="The demo's tool server.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8765)
    options = parser.parse_args()
    asyncio.run(serve(options.host, options.port))


if __name__ == "__main__":
    main()
