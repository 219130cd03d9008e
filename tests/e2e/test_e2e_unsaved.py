"""The grader editor asks before it lets go of what is not saved."""

from __future__ import annotations

from playwright.sync_api import Page
from pytest_django.live_server_helper import LiveServer

from conftest import sign_in
from hone.accounts.models import User


def test_leaving_the_editor_asks_only_while_something_is_not_saved(
    transactional_db: None, live_server: LiveServer, page: Page, alice: User
) -> None:
    asked: list[str] = []
    page.on("dialog", lambda dialog: (asked.append(dialog.type), dialog.accept()))
    sign_in(page, live_server.url, "alice@example.org")

    def kind(title: str) -> None:
        page.get_by_label("Kind to start from").get_by_role("link", name=title).click()
        page.locator(f"[aria-current=page]:text-is('{title}')").wait_for()

    page.goto(f"{live_server.url}/graders/new/?kind=string_check")
    titles = page.get_by_label("Kind to start from").get_by_role("link").all_inner_texts()
    kind(titles[0])
    assert asked == []
    page.get_by_label("Answer").fill("Rome")
    kind(titles[1])
    assert asked == ["beforeunload"]
    page.get_by_label("Answer").fill("Rome")
    page.get_by_role("button", name="Run").click()
    page.locator("#tried").wait_for()
    assert asked == ["beforeunload"]
    kind(titles[0])
    assert asked == ["beforeunload"] * 2
    page.get_by_label("Name").fill("mine")
    page.get_by_role("button", name="Save grader").click()
    page.get_by_text("mine is saved as version 1.").wait_for()
    assert asked == ["beforeunload"] * 2
