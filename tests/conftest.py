"""The cast of all tests: Alice owns, Bob is a member, Dora may look, Charlie is somewhere else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.test import override_settings
from xdist.scheduler import LoadFileScheduling

from hone.accounts.models import Membership, Organisation, Role, User

ON_SERVERS = "--on-servers"
DATABASE = {"db", "transactional_db", "live_server"}
PROCESSES = {"jobs", "demo", "e2e"}
"""Whose tests start processes of their own, which meet the database and the broker."""
SPREAD = {"tests/jobs/test_jobs_kills_real.py"}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        ON_SERVERS, action="store_true", help="only what meets the database or the broker"
    )


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The browser's tests go last: Playwright keeps an event loop running in this thread to the
    end of the session, and `asyncio.run` refuses to start beside it."""
    items.sort(key=lambda item: item.get_closest_marker("browser") is not None)
    if config.getoption(ON_SERVERS):
        config.hook.pytest_deselected(items=[item for item in items if not meets_servers(item)])
        items[:] = filter(meets_servers, items)


class Scheduling(LoadFileScheduling):  # type: ignore[misc]
    """A file's tests go to one process, since they share what is dear to make; those of `SPREAD`
    share nothing and take long, and go where there is room."""

    def _split_scope(self, nodeid: str) -> str:
        file: str = super()._split_scope(nodeid)
        return nodeid if file in SPREAD else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Scheduling:
    return Scheduling(config, log)


def meets_servers(item: pytest.Item) -> bool:
    """Whether another database or broker could make a difference to the test."""
    return item.get_closest_marker("any_database") is None and (
        item.get_closest_marker("django_db") is not None
        or not DATABASE.isdisjoint(getattr(item, "fixturenames", ()))
        or item.path.relative_to(Path(__file__).parent).parts[0] in PROCESSES
    )


@pytest.fixture(scope="session", autouse=True)
def _quick_passwords() -> Iterator[None]:
    with override_settings(PASSWORD_HASHERS=["tests.passwords.QuickArgon2"]):
        yield


@pytest.fixture
def organisation(db: None) -> Organisation:
    return Organisation.objects.create(name="Acme")


def _person(name: str, organisation: Organisation, role: str) -> User:
    user = User.objects.create_user(f"{name}@example.org", "correct horse battery", name.title())
    Membership.objects.create(organisation=organisation, user=user, role=role)
    return user


@pytest.fixture
def alice(organisation: Organisation) -> User:
    return _person("alice", organisation, Role.OWNER)


@pytest.fixture
def bob(organisation: Organisation) -> User:
    return _person("bob", organisation, Role.MEMBER)


@pytest.fixture
def dora(organisation: Organisation) -> User:
    return _person("dora", organisation, Role.VIEWER)


@pytest.fixture
def charlie(db: None) -> User:
    return _person("charlie", Organisation.objects.create(name="Elsewhere"), Role.OWNER)
