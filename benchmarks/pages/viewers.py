"""People who watch the long job: each polls as the page says, and fetches what the news names.

They run as threads of one process, so that what they cost is not mixed with what they measure.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from random import Random

from benchmarks.pages.browser import Answer, Browser, Panel, Parts, newest_step

EVERY_S = 1.5
PACES = (0.85, 1.15)
"""What `static/js/live.js` draws a page's pace from."""
THROTTLE_S = 3.0


@dataclass
class Seen:
    """What all viewers saw. `steps`: for each viewer, (newest step, when it came)."""

    kinds: dict[str, list[float]] = field(default_factory=dict)
    steps: dict[int, list[tuple[int, float]]] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)

    @property
    def count(self) -> int:
        return sum(map(len, self.kinds.values()))

    def add(self, kind: str, answer: Answer, wrong: str) -> None:
        self.kinds.setdefault(kind, []).append(answer.seconds)
        if wrong:
            self.errors.append(f"{kind}: {answer.status} {wrong}")


@dataclass
class Viewer:
    """One person with the job's page open."""

    number: int
    browser: Browser
    beside: Browser
    """A second connection, as browsers open them."""
    page: str
    seen: Seen
    newest: int = -1
    fetched: dict[str, float] = field(default_factory=dict)
    parts: Parts = field(default_factory=Parts)

    pace: float = 1.0
    """Times `EVERY_S`, as the page's script draws it."""

    def watch(self, stop: threading.Event, delay_s: float) -> None:
        stop.wait(delay_s)
        opened = self.browser.get(self.page)
        self.parts = Parts(opened.text)
        wrong = "" if opened.status == 200 and self.parts.poller else "no live page"
        self.seen.add("overview, opened by a viewer", opened, wrong)
        self._curves(after=-1)
        asked = time.monotonic()
        while not stop.wait(max(0.0, asked + EVERY_S * self.pace - time.monotonic())):
            asked = self._poll()

    def _poll(self) -> float:
        """When the page's clock began to run for its next question: with this answer."""
        poller = self.parts.poller
        if not poller:
            return time.monotonic()
        answer = self.browser.get(poller, HX_Request="true", HX_Target="pulse")
        if answer.status == 204:
            self.seen.add("pulse without news", answer, "")
            return answer.at
        fresh = Parts(answer.text)
        wrong = "" if answer.status == 200 and fresh.poller else "no poller in the news"
        self.seen.add("pulse with news", answer, wrong)
        self.parts.poller = fresh.poller or poller
        events = {each.strip() for each in answer.headers.get("hx-trigger", "").split(",")}
        # The page's script asks for new points while htmx asks for the panels.
        curves = threading.Thread(target=self._curves, kwargs={"after": self.newest})
        if "job-step" in events:
            curves.start()
        for panel in [*self.parts.panels, *fresh.panels]:
            if panel.events & events:
                self._once(panel.id, partial(self._panel, panel))
        if "job-step" in events:
            curves.join()
        return answer.at

    def _once(self, name: str, fetch: Callable[[], None]) -> None:
        """At most every three seconds, as `throttle:3s` says."""
        now = time.monotonic()
        if now - self.fetched.get(name, -THROTTLE_S) >= THROTTLE_S:
            self.fetched[name] = now
            fetch()

    def _panel(self, panel: Panel) -> None:
        answer = self.browser.get(panel.address, HX_Request="true", HX_Target=panel.id)
        fits = answer.status == 200 and f'id="{panel.id}"' in answer.text
        self.seen.add(f"fragment {panel.id}", answer, "" if fits else "not the panel")

    def _curves(self, *, after: int) -> None:
        if not self.parts.series:
            return
        address = self.parts.series if after < 0 else f"{self.parts.series}?after={after}"
        answer = self.beside.get(address)
        try:
            newest = newest_step(answer.text) if answer.status == 200 else -1
            wrong = "" if answer.status == 200 and (after >= 0 or newest >= 0) else "no points"
        except ValueError:
            newest, wrong = -1, "no JSON"
        kind = "curves, whole" if after < 0 else "curves, new points"
        self.seen.add(kind, answer, wrong)
        if newest > self.newest:
            self.seen.steps.setdefault(self.number, []).append((newest, answer.at))
            self.newest = newest


@dataclass(frozen=True)
class Audience:
    """Whose sessions look at which page."""

    port: int
    page: str
    sessions: list[str]

    def watch(self, stop: threading.Event) -> Seen:
        """All viewers until `stop`; they do not arrive in the same moment."""
        seen, rng = Seen(), Random(0)
        threads = [
            threading.Thread(
                target=self._viewer(number, session, seen, rng.uniform(*PACES)).watch,
                args=(stop, rng.uniform(0, 2 * EVERY_S)),
            )
            for number, session in enumerate(self.sessions)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return seen

    def _viewer(self, number: int, session: str, seen: Seen, pace: float) -> Viewer:
        browsers = Browser(self.port, session), Browser(self.port, session)
        return Viewer(number, *browsers, self.page, seen, pace=pace)
