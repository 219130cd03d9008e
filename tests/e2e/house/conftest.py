"""The seeded world, made once for all tests of a module, and a browser that visits it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.core.management import call_command
from django.test import override_settings
from playwright.sync_api import Browser
from pytest_django.live_server_helper import LiveServer

from tests.e2e.conftest import sign_in
from tests.e2e.house.visiting import Say, Visit
from tests.e2e.house.world import House, house_make

__all__ = ["sign_in"]
"""The tests of the folder above ask `conftest` for it, whichever was read last."""


@pytest.fixture(scope="module")
def db(
    django_db_setup: None, django_db_blocker: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[House]:
    """The world, which outlives the tests; it has this name because pytest-django makes a database
    for tests that ask for one of its own fixtures."""
    folder = tmp_path_factory.mktemp("house")
    changed = override_settings(
        DATA_DIR=folder,
        MEDIA_ROOT=folder / "files",
        QUOTA_HOURS=0.007,
        ROOT_URLCONF="tests.e2e.house.error_urls",
    )
    with django_db_blocker.unblock(), changed:
        try:
            yield house_make(folder)
        finally:
            call_command("flush", interactive=False, verbosity=0)


@pytest.fixture(scope="module")
def house(db: House) -> House:
    return db


@pytest.fixture(scope="module")
def visit(house: House, browser: Browser) -> Iterator[Visit]:
    """Its pages on a real web server, as each of its people sees them."""
    server = LiveServer("localhost")
    made = Visit(browser, server.url, house.ids)
    yield made
    made.close()
    server.stop()


@pytest.fixture
def say(pytestconfig: pytest.Config) -> Say:
    """Tells figures on the terminal, though pytest keeps what tests print."""
    plugins = pytestconfig.pluginmanager
    reporter, captured = (
        plugins.getplugin(name) for name in ("terminalreporter", "capturemanager")
    )

    def told(text: str) -> None:
        with captured.global_and_fixture_disabled():
            reporter.ensure_newline()
            reporter.write_line(text)

    return told
