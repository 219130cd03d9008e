"""The pages of judges in a real browser: axe finds nothing, nothing is too wide."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

from playwright.sync_api import Page
from pytest_django.live_server_helper import LiveServer
from test_e2e_tools import look

from conftest import sign_in
from graders.services.judges import JudgeFields, judge_create
from hone.accounts.models import Organisation, User
from tests.graders.judge_server import Server, completion


def test_what_a_judge_says_after_a_form_is_clean(
    transactional_db: None,
    live_server: LiveServer,
    page: Page,
    pictures: Path | None,
    complaints: list[str],
    settings: Any,
    alice: User,
    organisation: Organisation,
) -> None:
    sign_in(page, live_server.url, "alice@example.org")
    findings: list[str] = []
    answer = {"answer": "They agree: both name Paris.", "score": 1.0}
    with Server(completion(answer)).serving() as server:
        settings.OUTBOUND_ALLOW = (f"127.0.0.1:{server.port}",)
        judge = judge_create(
            acting_user=alice,
            organisation=organisation,
            name="openai",
            fields=JudgeFields(
                base_url=f"{server.url}/v1",
                models=("gpt-5-mini", "gpt-5"),
                input_price=Decimal("0.25"),
                output_price=Decimal(2),
            ),
            key="hush-hush",
        )
        page.goto(f"{live_server.url}/graders/judges/{judge.pk}/")
        page.get_by_role("button", name="Ask", exact=True).click()
        page.get_by_text("✓ Answered.").wait_for()
        findings += look(page, "judge_answered", pictures)
        server.answer = (503, "<b>down</b>" * 30)
        page.get_by_role("button", name="Ask", exact=True).click()
        page.get_by_text("✗ No answer.").wait_for()
        findings += look(page, "judge_down", pictures)
    page.goto(f"{live_server.url}/graders/judges/new/")
    page.get_by_label("Name").fill("a/b")
    page.get_by_role("button", name="Register judge").click()
    page.get_by_text("is no name of a judge").first.wait_for()
    findings += look(page, "judge_refused", pictures)
    assert findings == []
    # A browser says aloud that a page came with a refusal's status.
    assert [line for line in complaints if "503" not in line] == []


def test_a_judge_is_registered_by_keyboard_and_asked(
    transactional_db: None,
    live_server: LiveServer,
    page: Page,
    settings: Any,
    alice: User,
) -> None:
    sign_in(page, live_server.url, "alice@example.org")
    with Server(completion({"answer": "Yes.", "score": 1})).serving() as server:
        settings.OUTBOUND_ALLOW = (f"127.0.0.1:{server.port}",)
        page.goto(f"{live_server.url}/graders/")
        page.get_by_role("link", name="Judges", exact=True).click()
        page.get_by_role("link", name="Register judge").first.click()
        page.get_by_label("Name").fill("ours")
        page.get_by_label("Base URL").fill(f"{server.url}/v1")
        page.get_by_label("Models").fill("small")
        page.get_by_label("API key").fill("sk-canary-browser")
        page.get_by_label("Models").press("Tab")
        page.get_by_role("button", name="Register judge").click()
        page.get_by_text("ours is registered").wait_for()
        page.get_by_label("Question").press("Control+Enter")
        page.get_by_text("✓ Answered.").wait_for()
        assert "sk-canary-browser" not in page.content()
        assert server.headers[0]["authorization"] == "Bearer sk-canary-browser"
