"""How tests go to the pages of the seeded world: signed in as each of its people."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from playwright.sync_api import Browser, BrowserContext, Response
from playwright.sync_api import Page as Tab

from tests.e2e.conftest import sign_in
from tests.e2e.house.pages import STRANGER, Page

Say = Callable[[str], None]
"""Prints a line of figures, also where pytest keeps what tests print."""

SETTLED_MS = 150
SLOW = {"job_new", "job_clone", "job_new_none", "preflight_start", "usage"}
"""Pages that ask for more a moment after they opened."""


@dataclass
class Visit:
    """One browser, and a session of each person, signed in once."""

    browser: Browser
    address: str
    ids: dict[str, str]
    sessions: dict[str, Any] = field(default_factory=dict)
    tabs: dict[tuple[str, bool], Tab] = field(default_factory=dict)
    complaints: list[str] = field(default_factory=list)

    def path(self, page: Page) -> str:
        return page.address.format(**self.ids)

    def tab(self, who: str, *, scripts: bool = True) -> Tab:
        """The tab of a person; the same one each time."""
        if (who, scripts) not in self.tabs:
            self.tabs[who, scripts] = self._context(who, java_script_enabled=scripts).new_page()
        return self.tabs[who, scripts]

    @contextmanager
    def fresh(self, who: str) -> Iterator[Tab]:
        """A tab of a browser that has never been here, but for the session."""
        context = self._context(who)
        yield context.new_page()
        context.close()

    def go(self, page: Page, tab: Tab) -> Response:
        """Open the page and let it settle; it answers as the list says."""
        answer = tab.goto(self.address + self.path(page))
        assert answer is not None
        assert answer.status == page.status, f"{page.name}: {answer.status}"
        tab.wait_for_load_state("load")
        tab.wait_for_timeout(700 if page.name in SLOW else SETTLED_MS)
        return answer

    def complained(self) -> list[str]:
        """What the console said since this was last asked."""
        said, self.complaints = self.complaints, []
        return said

    def close(self) -> None:
        for tab in self.tabs.values():
            tab.context.close()

    def _context(self, who: str, **options: Any) -> BrowserContext:
        context = self.browser.new_context(storage_state=self._session(who), **options)
        context.on("console", self._heard)
        context.on("weberror", lambda error: self.complaints.append(str(error.error)))
        context.on("dialog", lambda box: (self.complaints.append(box.message), box.dismiss()))
        return context

    def _heard(self, line: Any) -> None:
        """What the console says, but for the pages that are errors and say so."""
        if line.type == "error" and "Failed to load resource" not in line.text:
            self.complaints.append(f"{line.page.url if line.page else ''}: {line.text}")

    def _session(self, who: str) -> Any:
        if who == STRANGER:
            return None
        if who not in self.sessions:
            context = self.browser.new_context()
            sign_in(context.new_page(), self.address, f"{who}@example.org")
            self.sessions[who] = context.storage_state()
            context.close()
        return self.sessions[who]
