"""Every page of the registry in a real browser, at each width and in both schemes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page as Tab

from tests.e2e.house.pages import PAGES, Page
from tests.e2e.house.visiting import Visit

LOOKS = (("light", 1440), ("light", 390), ("dark", 390), ("dark", 1440))
ZOOMED = 320
"""How wide a page of 1280 px is at 400 %."""
AXE = Axe()


def look(tab: Tab, pictures: Path | None, name: str) -> list[str]:
    """What is wrong with the page that is open, in each of its looks."""
    findings = []
    tab.evaluate(AXE.axe_script)
    for scheme, width in LOOKS:
        tab.emulate_media(color_scheme=scheme)
        tab.set_viewport_size({"width": width, "height": 900})
        tab.wait_for_timeout(100)
        if pictures:
            tab.screenshot(path=pictures / f"{name}-{width}-{scheme}.png", full_page=True)
        found = too_wide(tab, width) + [
            f"{each['id']} {each['nodes'][0]['html'][:160]}" for each in axe(tab)
        ]
        findings += [f"{name} {width} {scheme}: {each}" for each in found]
    tab.set_viewport_size({"width": ZOOMED, "height": 900})
    return findings + [f"{name}: {each}" for each in too_wide(tab, ZOOMED)]


def axe(tab: Tab) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = tab.evaluate(
        "axe.run(document, {resultTypes: ['violations']}).then(found => found.violations)"
    )
    return found


def too_wide(tab: Tab, width: int) -> list[str]:
    wide = tab.evaluate("document.documentElement.scrollWidth")
    return [f"{wide} px wide at {width}"] if wide > width else []


@pytest.mark.any_database
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_page_is_clean_at_every_width_and_in_both_schemes(
    visit: Visit, pictures: Path | None, page: Page
) -> None:
    tab = visit.tab(page.who)
    tab.set_viewport_size({"width": 1440, "height": 900})
    visit.go(page, tab)
    findings = look(tab, pictures, page.name) + visit.complained()
    assert not findings, "\n".join(findings)
