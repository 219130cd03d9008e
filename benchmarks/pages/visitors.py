"""People who click: each opens one page after the other, and every page is judged."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from random import Random
from urllib.parse import quote

from benchmarks.pages.browser import Answer, Browser, Parts, newest_step
from benchmarks.pages.plan import LONG, LONG_END, RARE, Facts
from benchmarks.pages.server import Server, Spent

LIST, OPEN, LONG_OPEN, CHART, PAGE = "list", "open", "long", "chart", "page"
"""Families of kinds, each with a figure of its own."""
WARM_UPS = 2


@dataclass(frozen=True)
class Visit:
    """One address to open; `wrong` says what an answer lacks, or nothing."""

    kind: str
    family: str
    address: str
    wrong: Callable[[str], str]


@dataclass
class Visited:
    """Seconds and sizes by kind."""

    seconds: dict[str, list[float]] = field(default_factory=dict)
    families: dict[str, str] = field(default_factory=dict)
    bytes: dict[str, int] = field(default_factory=dict)
    spent: dict[str, list[Spent]] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)

    @property
    def count(self) -> int:
        return sum(map(len, self.seconds.values()))

    def spend(self, kind: str, spent: Spent) -> None:
        self.spent.setdefault(kind, []).append(spent)

    def add(self, visit: Visit, answer: Answer) -> None:
        self.seconds.setdefault(visit.kind, []).append(answer.seconds)
        self.families[visit.kind] = visit.family
        self.bytes[visit.kind] = max(self.bytes.get(visit.kind, 0), answer.size)
        wrong = visit.wrong(answer.text) if answer.status == 200 else answer.text[:80]
        if answer.status != 200 or wrong:
            self.errors.append(f"{visit.kind} {visit.address}: {answer.status} {wrong}")


def holds(*words: str) -> Callable[[str], str]:
    """The page has each of the words."""
    return lambda text: ", ".join(f"without {word!r}" for word in words if word not in text)


def lists(job: str, least: int = 50) -> Callable[[str], str]:
    """The list has that many trajectories."""
    start = f"/jobs/{job}/trajectories/"

    def wrong(text: str) -> str:
        rows = {link for link in Parts(text).links if link.startswith(start) and link != start}
        return "" if len(rows) >= least else f"{len(rows)} trajectories"

    return wrong


def curves(least: int) -> Callable[[str], str]:
    """The JSON reaches that step."""

    def wrong(text: str) -> str:
        try:
            newest = newest_step(text)
        except ValueError:
            return "no JSON"
        return "" if newest >= least else f"ends at step {newest}"

    return wrong


def visits(facts: Facts, steps: int, browser: Browser) -> list[Visit]:
    """Every kind of page once, but for trajectories, which are drawn.

    What the pages themselves offer is found by looking at them: the job's tabs and the orders of
    its list.
    """
    job, here = facts.job, f"/jobs/{facts.job}/"
    rows = f"{here}trajectories/"
    few = lists(job, 1)
    found = [
        Visit("jobs", PAGE, "/jobs/", holds(job)),
        Visit("jobs, filtered", PAGE, "/jobs/?status=succeeded&q=refunds", holds("refunds")),
        Visit("overview", PAGE, here, holds(LONG, "pulse")),
        Visit("overview of a short job", PAGE, f"/jobs/{facts.short_job}/", holds("pulse")),
        Visit("events of warnings", PAGE, f"{here}events/?level=warn", holds("timed out")),
        Visit("curves of 100,000 steps", CHART, f"{here}series.json", curves(steps - 1)),
        Visit("list", LIST, rows, lists(job)),
        Visit("list, a step", LIST, f"{rows}?step={steps // 2}", few),
        Visit("list, a task", LIST, f"{rows}?row=7", few),
        Visit("list, loops", LIST, f"{rows}?flag=looped", few),
        Visit("list, ungraded", LIST, f"{rows}?flag=ungraded", few),
        Visit("list, a tool", LIST, f"{rows}?tool=calculate", few),
        Visit("list, a stop", LIST, f"{rows}?stop=tool_loop", few),
        Visit("list, validation", LIST, f"{rows}?split=validation", lists(job)),
        Visit("list, rewards", LIST, f"{rows}?reward_from=0.5&reward_to=0.99", few),
        Visit("list, text", LIST, f"{rows}?text={RARE}", few),
        Visit("list, text of two words", LIST, f"{rows}?text={quote('Delft ordered')}", few),
        Visit("list, no match", LIST, f"{rows}?text=nobodysaidthis", holds(LONG)),
        *_deep(browser, rows),
        *_offered(browser, here, rows),
    ]
    pk, uid = facts.long
    found.append(Visit("trajectory of 1 MB", LONG_OPEN, f"{rows}{pk}/", holds(uid, LONG_END)))
    return found


def opened(facts: Facts, rng: Random) -> list[Visit]:
    """Three trajectories by chance."""
    rows = f"/jobs/{facts.job}/trajectories/"
    return [
        Visit("trajectory", OPEN, f"{rows}{pk}/", holds(uid, "search"))
        for pk, uid in rng.sample(facts.opened, 3)
    ]


def _deep(browser: Browser, rows: str) -> Iterator[Visit]:
    """A page in the middle of the list, by the link that its own page before offers."""
    text = browser.get(f"{rows}?reward_from=0&reward_to=0.4").text
    older = [link for link in Parts(text).links if "after=" in link]
    for link in older[:1]:
        yield Visit("list, next page of a range", LIST, f"{rows}{link}", holds(LONG))


def _offered(browser: Browser, here: str, rows: str) -> Iterator[Visit]:
    """The job's other tabs, and the ways in which its list can be sorted."""
    own = {here, rows}
    tabs = [link for link in Parts(browser.get(here).text).links if link.startswith(here)]
    for link in sorted(
        {each for each in tabs if each.endswith("/") and each.count("/") == 4} - own
    ):
        if not link.endswith(("cancel/", "pause/", "resume/")):
            yield Visit(f"tab {link[len(here) : -1]}", PAGE, link, holds(LONG))
    links = Parts(browser.get(rows).text).links
    for link in sorted({each for each in links if "sort=" in each or "order=" in each})[:4]:
        address = link if link.startswith("/") else f"{rows}{link}"
        yield Visit(f"list, {link.rpartition('?')[2][:24]}", LIST, address, holds(LONG))


@dataclass(frozen=True)
class Crowd:
    """Who clicks, and how often each; `every_s` 0: one page right after the other, and each kind
    at least once."""

    port: int
    facts: Facts
    steps: int
    sessions: list[str]
    every_s: float
    server: Server | None = None
    """Whose processor time is counted by kind; only where nobody else asks it for anything."""

    def click(self, stop: threading.Event) -> Visited:
        """All of them until `stop`. A page that is late delays no other one: each has its time,
        and what a page waited for its turn counts."""
        visited = Visited()
        known = visits(self.facts, self.steps, Browser(self.port, self.sessions[0]))
        threads = [
            threading.Thread(target=self._clicker, args=(number, known, visited, stop))
            for number in range(len(self.sessions))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return visited

    def warm_up(self) -> None:
        """Each worker has read its templates and the database its indexes before it counts."""
        for _ in range(WARM_UPS):
            browser = Browser(self.port, self.sessions[0])
            for visit in visits(self.facts, self.steps, browser):
                browser.get(visit.address)

    def _clicker(
        self, number: int, known: list[Visit], visited: Visited, stop: threading.Event
    ) -> None:
        browser, rng = Browser(self.port, self.sessions[number]), Random(number)
        due = time.monotonic() + self.every_s * number / len(self.sessions)
        went_round = False
        while True:
            round_ = [*known, *opened(self.facts, rng)]
            rng.shuffle(round_)
            for visit in round_:
                if stop.wait(max(0.0, due - time.monotonic())) and (self.every_s or went_round):
                    return
                late = time.monotonic() - due if self.every_s else 0.0
                before = self.server.spent() if self.server else None
                answer = browser.get(visit.address)
                visited.add(visit, replace(answer, seconds=answer.seconds + late))
                if self.server and before is not None:
                    visited.spend(visit.kind, self.server.spent() - before)
                due = due + self.every_s if self.every_s else time.monotonic()
            went_round = True
