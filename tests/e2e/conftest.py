"""A real Chromium from the system, a real web server, and where wanted pictures of every page."""

from __future__ import annotations

import os
import shutil
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page

from hone.demo.processes import ProcessGroup, tool_server, wait_for_port, workers
from hone.demo.workspace import Workspace, tools_allow, workspace_seed
from tests.database_url import database_url

ROOT = Path(__file__).resolve().parents[2]
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
        if "e2e" in item.path.parts:
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


@pytest.fixture
def workspace(
    transactional_db: None, settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Workspace]:
    """The demo's, with its tool server and the workers of an installation."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    settings.OUTBOUND_ALLOW = ()
    monkeypatch.setenv("HONE_DEMO_PORT", str(port))
    tools_allow()
    group = ProcessGroup(
        tmp_path / "logs",
        {
            **os.environ,
            "PYTHONPATH": f"{ROOT / 'platform'}{os.pathsep}{ROOT}",
            "DJANGO_SETTINGS_MODULE": "hone.settings",
            "DATABASE_URL": database_url(),
            "HONE_DATA_DIR": str(settings.DATA_DIR),
            "HONE_OUTBOUND_ALLOW": f"127.0.0.1:{port}",
        },
    )
    try:
        group.start(tool_server(port))
        assert wait_for_port(port, seconds=20, alive=group.running["tool-server"])
        for program in workers(ROOT / "manage.py"):
            group.start(program)
        yield workspace_seed()
    finally:
        group.stop()


def sign_in(page: Page, address: str, email: str, password: str = PASSWORD) -> None:
    """Through the form, as a person does."""
    page.goto(f"{address}/login/?next=/jobs/")
    page.get_by_label("E-mail").fill(email)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/jobs/")
