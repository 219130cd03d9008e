"""What the pages of tools say after a form: axe finds nothing, nothing is too wide."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page
from pytest_django.live_server_helper import LiveServer

from conftest import sign_in
from hone.accounts.models import Organisation, User
from hone.core.net.function_call import CallOutcome
from hone.tools.models import Tool
from hone.tools.services import (
    ToolFields,
    tool_create,
)

WIDTHS = (1440, 390)
SCHEMES = ("light", "dark")
REPLY = json.dumps({"error": "<b>no database</b>", "trace": "x" * 400, "key": "**********"})
OUTCOMES = {
    "ok": CallOutcome("ok", "Order 7 was sent on 3 May.", 200, 1, 0.041, 212, 64),
    "tool_error": CallOutcome(
        "tool_error", '{"error":"no such order"}', 404, 1, 0.03, 212, 25,
        error="search_orders answered HTTP 404.",
    ),
    "fault": CallOutcome(
        "fault", None, 503, 1, 1.2, 212, 9_000,
        error="search_orders answered HTTP 503.", reply=REPLY,
    ),
}  # fmt: skip


@pytest.fixture
def tool(alice: User, organisation: Organisation) -> Tool:
    fields = ToolFields(
        url="https://tools.example.org/search_orders",
        description="Finds orders of a customer.",
        parameters={"type": "object", "properties": {"query": {"type": "string"}}},
        headers={"Authorization": "Bearer hush-hush"},
    )
    return tool_create(
        acting_user=alice, organisation=organisation, name="search_orders", fields=fields
    ).tool


def look(page: Page, name: str, pictures: Path | None) -> list[str]:
    """What is wrong with the page as it is now, at every width and in both schemes."""
    findings = []
    for scheme in SCHEMES:
        page.emulate_media(color_scheme=scheme)
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 900})
            page.wait_for_timeout(150)
            if pictures:
                page.screenshot(path=pictures / f"{name}-{width}-{scheme}.png", full_page=True)
            wide = page.evaluate("document.documentElement.scrollWidth")
            if wide > width:
                findings.append(f"{name} at {width}: {wide} px wide")
            findings += [
                f"{name} {width} {scheme}: {each['id']} {each['nodes'][0]['html'][:160]}"
                for each in Axe().run(page).response["violations"]
            ]
    return findings


def test_what_a_tool_says_after_a_form_is_clean(
    transactional_db: None,
    live_server: LiveServer,
    page: Page,
    pictures: Path | None,
    complaints: list[str],
    monkeypatch: pytest.MonkeyPatch,
    alice: User,
    tool: Tool,
) -> None:
    findings: list[str] = []
    sign_in(page, live_server.url, "alice@example.org")
    page.goto(f"{live_server.url}/tools/{tool.pk}/edit/")
    page.get_by_label("URL").fill("https://elsewhere.example.org/")
    page.get_by_role("button", name="Save v2").click()
    page.get_by_text("Type the value again").first.wait_for()
    findings += look(page, "tool_moved", pictures)
    page.evaluate("document.querySelector('form[data-unsaved]').dataset.unsaved = 'no'")
    for name, outcome in OUTCOMES.items():

        async def called(*args: Any, outcome: CallOutcome = outcome) -> CallOutcome:
            return outcome

        monkeypatch.setattr("hone.tools.services.trial.call_version", called)
        page.goto(f"{live_server.url}/tools/{tool.pk}/")
        page.get_by_role("button", name="Call", exact=True).click()
        page.get_by_text("The request").wait_for()
        findings += look(page, f"tool_{name}", pictures)
    assert findings == []
    assert complaints == []


def test_leaving_a_changed_tool_asks_first(
    transactional_db: None, live_server: LiveServer, page: Page, alice: User, tool: Tool
) -> None:
    asked: list[str] = []
    page.on("dialog", lambda dialog: (asked.append(dialog.type), dialog.accept()))
    sign_in(page, live_server.url, "alice@example.org")
    address = f"{live_server.url}/tools/{tool.pk}/edit/"
    page.goto(address)
    page.get_by_role("link", name="Leave").click()
    page.wait_for_url(f"**/tools/{tool.pk}/")
    assert asked == []
    page.goto(address)
    page.get_by_label("Description").fill("Something else.")
    page.get_by_role("link", name="Leave").click()
    page.wait_for_url(f"**/tools/{tool.pk}/")
    assert asked == ["beforeunload"]
