"""One signed-in browser, as far as the server can tell: a kept connection, cookies, and htmx."""

from __future__ import annotations

import gzip
import json
import re
import time
from dataclasses import dataclass, field
from html.parser import HTMLParser
from http.client import HTTPConnection, HTTPException
from typing import Any

PATIENCE_S = 60.0


@dataclass(frozen=True)
class Answer:
    """`seconds` from the request to the last byte."""

    status: int
    headers: dict[str, str]
    text: str
    seconds: float
    at: float
    """When the last byte came, by the clock that all processes share."""
    size: int
    """Bytes of the body on the wire."""


class Browser:
    """Reconnects where the server closed an idle connection, as browsers do."""

    def __init__(self, port: int, session: str) -> None:
        self._connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
        self._headers = {"Cookie": f"sessionid={session}", "Accept-Encoding": "gzip"}

    def get(self, path: str, **headers: str) -> Answer:
        """What the path answers; status 0 where nothing came."""
        began = time.monotonic()
        sent = {**self._headers, **{name.replace("_", "-"): text for name, text in headers.items()}}
        try:
            status, found, body = self._ask(path, sent)
        except (OSError, HTTPException) as error:
            status, found, body = 0, {}, str(error).encode()
        ended = time.monotonic()
        size = len(body)
        if found.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        return Answer(status, found, body.decode("utf-8", "replace"), ended - began, ended, size)

    def _ask(self, path: str, sent: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        for again in (True, False):
            try:
                self._connection.request("GET", path, headers=sent)
                response = self._connection.getresponse()
                body = response.read()
                break
            except (ConnectionError, HTTPException):
                self._connection.close()
                if not again:
                    raise
        return response.status, {k.lower(): v for k, v in response.getheaders()}, body


@dataclass(frozen=True)
class Panel:
    """An element that fetches itself when an event reaches the page."""

    id: str
    address: str
    events: frozenset[str]


@dataclass
class Parts(HTMLParser):
    """What of a page moves: its poller, its panels, the address of its curves; and its links."""

    text: str = field(repr=False, default="")
    poller: str = ""
    panels: list[Panel] = field(default_factory=list)
    series: str = ""
    links: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self.feed(self.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        trigger, address = found.get("hx-trigger", ""), found.get("hx-get", "")
        if address and "every" in trigger:
            self.poller = address
        elif address and "from:body" in trigger:
            events = frozenset(re.findall(r"([\w-]+) from:body", trigger))
            self.panels.append(Panel(found.get("id", ""), address, events))
        if "data-series" in found:
            self.series = found["data-series"]
        if tag == "a" and "href" in found:
            self.links.append(found["href"])


def newest_step(text: str) -> int:
    """The largest number in any list named `step` or `steps` of a JSON text; -1 without one."""
    return max(_steps(json.loads(text)), default=-1)


def _steps(value: Any) -> list[int]:
    if isinstance(value, list):
        return [step for inner in value for step in _steps(inner)]
    if not isinstance(value, dict):
        return []
    found = []
    for name, inner in value.items():
        if name in {"step", "steps"} and isinstance(inner, list):
            found += [int(each) for each in inner if isinstance(each, int | float)]
        else:
            found += _steps(inner)
    return found
