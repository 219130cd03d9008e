"""A judge or an endpoint on loopback, in a thread: real HTTP, and as nasty as a test likes."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

Body = dict[str, Any]
Raw = Callable[[socket.socket], None]
Answer = "tuple[int, Any] | Raw | Any"


def completion(content: Any, *, model: str = "sampled-1", finish: str = "stop", **message: Any):
    """A chat completion whose content is `content`, as JSON unless it is text or None."""
    text = content if isinstance(content, str | None) else json.dumps(content)
    said = {"role": "assistant", "content": text} | message
    return {
        "model": model,
        "choices": [{"index": 0, "finish_reason": finish, "message": said}],
        "usage": {
            "prompt_tokens": 100,
            "completion_tokens": 20,
            "total_tokens": 120,
            "prompt_tokens_details": {"cached_tokens": 40},
        },
    }


def scored(result: Any, **more: Any):
    step = {"description": "read", "conclusion": "fine"}
    return completion({"steps": [step], "result": result}, **more)


class Server:
    """Answers each POST with `answer`: a value for 200, a status with a value, or raw bytes by a
    function of the socket. `answer` may be a function of the body that gives one of these."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.requests: list[tuple[str, Body]] = []
        self.headers: list[dict[str, str]] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._open = True

    @contextmanager
    def serving(self) -> Iterator[Server]:
        thread = threading.Thread(target=self._accept, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._open = False
            with suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            thread.join(5)

    def _accept(self) -> None:
        while self._open:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        connection.settimeout(20)
        with connection, suppress(OSError):
            while self._one(connection):
                pass

    def _one(self, connection: socket.socket) -> bool:
        head = b""
        while b"\r\n\r\n" not in head:
            got = connection.recv(65536)
            if not got:
                return False
            head += got
        head, _, content = head.partition(b"\r\n\r\n")
        lines = head.decode().splitlines()
        headers = {n.lower(): v for n, v in (line.split(": ", 1) for line in lines[1:])}
        while len(content) < int(headers["content-length"]):
            content += connection.recv(65536)
        body = json.loads(content)
        self.requests.append((lines[0].split()[1], body))
        self.headers.append(headers)
        return self._reply(connection, body)

    def _reply(self, connection: socket.socket, body: Body) -> bool:
        answer = self.answer
        if callable(answer) and getattr(answer, "raw", False) is False:
            answer = answer(body)
        if callable(answer):
            answer(connection)
            return False
        status, value = answer if isinstance(answer, tuple) else (200, answer)
        content = value.encode() if isinstance(value, str) else json.dumps(value).encode()
        connection.sendall(
            f"HTTP/1.1 {status} X\r\nContent-Length: {len(content)}\r\n\r\n".encode() + content
        )
        return True


def raw(content: bytes, *, piece: int = 0, pause_s: float = 0.0) -> Raw:
    """Sends these bytes and closes; in pieces with pauses where told."""

    def send(connection: socket.socket) -> None:
        if not piece:
            connection.sendall(content)
            return
        for start in range(0, len(content), piece):
            connection.sendall(content[start : start + piece])
            time.sleep(pause_s)

    send.raw = True  # type: ignore[attr-defined]
    return send


def endless(connection: socket.socket) -> None:
    """Headers, and then a body without an end."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        connection.sendall(b"10000\r\n" + b"x" * 65536 + b"\r\n")


endless.raw = True  # type: ignore[attr-defined]


def reset(connection: socket.socket) -> None:
    """Breaks the connection off."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")


reset.raw = True  # type: ignore[attr-defined]


def ok(body: bytes, *headers: bytes) -> bytes:
    return b"\r\n".join([b"HTTP/1.1 200 OK", *headers, b"", body])
