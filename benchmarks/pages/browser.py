"""One signed-in browser, as far as the server can tell: a kept connection, cookies, and htmx."""

from __future__ import annotations

import gzip
import re
import time
from dataclasses import dataclass, field
from html.parser import HTMLParser
from http.client import HTTPConnection, HTTPException

import msgspec

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
    folded: int = 0
    """How many closed `<details>` the place that is read lies in: nothing is fetched there."""

    def __post_init__(self) -> None:
        super().__init__()
        self.feed(self.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        trigger, address = found.get("hx-trigger", ""), found.get("hx-get", "")
        if tag == "details" and (self.folded or "open" not in found):
            self.folded += 1
        if address and "every" in trigger:
            self.poller = address
        elif address and "from:body" in trigger and not self.folded:
            events = frozenset(re.findall(r"([\w-]+) from:body", trigger))
            self.panels.append(Panel(found.get("id", ""), address, events))
        if "data-series" in found:
            self.series = found["data-series"]
        if tag == "a" and "href" in found:
            self.links.append(found["href"])

    def handle_endtag(self, tag: str) -> None:
        if tag == "details" and self.folded:
            self.folded -= 1


class _Chart(msgspec.Struct):
    steps: list[float]


class _Curves(msgspec.Struct):
    charts: list[_Chart]


def newest_step(text: str) -> int:
    """The largest step that any chart has; -1 without one. Raises ValueError for other texts."""
    try:
        charts = msgspec.json.decode(text, type=_Curves).charts
    except msgspec.MsgspecError as error:
        raise ValueError(f"no curves: {error}") from error
    return max((int(max(chart.steps, default=-1)) for chart in charts), default=-1)
