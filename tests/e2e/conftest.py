"""A real Chromium from the system, a real web server, and where wanted pictures of every page."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page

TESTS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS / "pages_jobs"))

NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next((found for name in NAMES if (found := shutil.which(name))), None)
PASSWORD = "correct horse battery"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--screenshots-to",
        metavar="DIR",
        help="write a picture of every page, 1440 and 390 px wide, light and dark",
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    missing = pytest.mark.skip(
        reason="needs Chromium: install the system's package (`apt-get install chromium`)"
    )
    for item in items:
        if Path(str(item.fspath)).parent.name == "e2e":
            item.add_marker(pytest.mark.browser)
            item.add_marker(pytest.mark.slow)
            if CHROMIUM is None:
                item.add_marker(missing)


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args: dict[str, Any]) -> dict[str, Any]:
    arguments = ["--disable-gpu", "--disable-dev-shm-usage"]
    if os.geteuid() == 0:
        arguments.append("--no-sandbox")
    return {**browser_type_launch_args, "executable_path": CHROMIUM, "args": arguments}


@pytest.fixture(scope="session")
def pictures(request: pytest.FixtureRequest) -> Path | None:
    given = request.config.getoption("--screenshots-to")
    if not given:
        return None
    folder = Path(given)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture
def complaints(context: BrowserContext) -> list[str]:
    """What the browser's console complains about: policy reports, errors of scripts, dialogs."""
    heard: list[str] = []
    context.on("console", lambda line: heard.append(line.text) if line.type == "error" else None)
    context.on("weberror", lambda error: heard.append(str(error.error)))
    context.on(
        "dialog", lambda dialog: (heard.append(f"dialog: {dialog.message}"), dialog.dismiss())
    )
    return heard


def sign_in(page: Page, address: str, email: str, password: str = PASSWORD) -> None:
    """Through the form, as a person does."""
    page.goto(f"{address}/login/?next=/jobs/")
    page.get_by_label("E-mail").fill(email)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/jobs/")
