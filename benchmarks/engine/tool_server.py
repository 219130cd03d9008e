"""The ledger desk's tools in a process of their own, each answer a given time late.

`python -m benchmarks.engine.tool_server --latency 50`; the first line it prints is its port. It
waits without blocking, so that calls made at once are answered at once.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from hone.demo.server import respond


async def _answer(
    latency_s: float, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    try:
        while head := (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower():
            length = int(head.split("content-length:")[1].split("\r\n")[0])
            path = head.split(" ", 2)[1]
            status, reply = respond("POST", path, await reader.readexactly(length))
            if latency_s:
                await asyncio.sleep(latency_s)
            body = json.dumps(reply).encode()
            writer.write(
                f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(body)}\r\n\r\n".encode()
                + body
            )
            await writer.drain()
    except (EOFError, OSError, asyncio.CancelledError):
        return
    finally:
        writer.close()


async def _serve(latency_s: float) -> None:
    server = await asyncio.start_server(partial(_answer, latency_s), "127.0.0.1", 0, backlog=512)
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await server.serve_forever()


@contextmanager
def serving(latency_ms: int) -> Iterator[int]:
    """A server process; its port."""
    command = [sys.executable, "-m", __name__, "--latency", str(latency_ms)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield int(process.stdout.readline())
        finally:
            process.terminate()


def main() -> None:
    parser = argparse.ArgumentParser(description="The ledger desk's tools, answering late.")
    parser.add_argument("--latency", type=int, default=0, help="milliseconds")
    asyncio.run(_serve(parser.parse_args().latency / 1000))


if __name__ == "__main__":
    main()
