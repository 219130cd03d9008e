"""Every address: strangers sign in, foreign is absent, viewers change nothing."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from hone.accounts.models import AuditEntry, Membership, Organisation, User
from hone.accounts.selectors import member_list
from hone.accounts.services.keys import key_create
from hone.core.request_ids import HEADER
from tests.pages.conftest import Things

OPEN = {"healthz", "readyz", "login"}
MINE = {
    "home",
    "settings",
    "browser-settings",
    "theme",
    "keys",
    "key-revoke",
    "member-leave",
    "organisation-switch",
    "logout",
}
MANAGED = {"audit", "audit-csv", "system"}
"""A viewer reads these neither."""
JOBS = re.compile(r"^(jobs?|models?|preflights?|trajectory|replay|comparison|compare-chart|tryout)")
WRITES = {
    "member-add",
    "member-set-role",
    "member-set-password",
    "member-remove",
    "dataset-new",
    "dataset-version-new",
    "dataset-archive",
    "dataset-delete",
    "dataset-split",
    "dataset-report",
    "upload-new",
    "upload-part",
    "upload-complete",
    "upload-cancel",
    "intake-new",
    "intake-columns",
    "tool-new",
    "tool-edit",
    "tool-call",
    "tool-archive",
    "tool-check",
    "tool-schedule",
    "tool-secrets",
    "tool-secret-withdraw",
    "mcp-new",
    "mcp-ask",
    "mcp-import",
    "mcp-archive",
    "mcp-secrets",
    "mcp-secret-withdraw",
    "recording-archive",
    "grader-new",
    "grader-edit",
    "grader-archive",
    "grader-headers",
    "judge-new",
    "judge-edit",
    "judge-key",
    "judge-try",
    "judge-archive",
    "fixture-new",
    "fixture",
    "fixture-delete",
    "fixtures-rerun",
    "system-look",
}

POSTED = {
    "logout",
    "organisation-switch",
    "browser-settings",
    "theme",
    "key-revoke",
    "member-leave",
}
"""These change nothing of the organisation's, and take only a form too."""

DATA = {"grader-export", "upload", "dataset-download"}
"""These answer with data and not with a page."""


def patterns(parts: list[Any], before: str = "/") -> Iterator[tuple[str, str]]:
    for part in parts:
        route = before + str(part.pattern)
        if isinstance(part, URLResolver):
            yield from patterns(part.url_patterns, route)
        elif isinstance(part, URLPattern) and not JOBS.match(part.name or ""):
            yield str(part.name), route


ADDRESSES = dict(patterns(get_resolver().url_patterns))
OWNED = {name: route for name, route in ADDRESSES.items() if "<" in route}


@pytest.fixture
def ids(things: Things, organisation: Organisation) -> dict[str, str]:
    member: Membership = member_list(organisation)[0]
    key, _ = key_create(acting_user=member.user, organisation=organisation, name="ci", days=None)
    return {
        "dataset_id": things.dataset.pk,
        "upload_id": things.intake.upload_id or "",
        "intake_id": things.intake.pk,
        "tool_id": things.tool.pk,
        "grader_id": things.grader.pk,
        "judge_id": things.judge.pk,
        "server_id": things.server.pk,
        "recording_id": things.recording.pk,
        "secret_id": "secret-7",
        "fixture_id": str(things.fixture.pk),
        "membership_id": str(member.pk),
        "key_id": key.pk,
        "number": "1",
    }


def filled(route: str, ids: dict[str, str]) -> str:
    return re.sub(r"<\w+:(\w+)>", lambda found: ids[found[1]], route)


def asked(client: Client, name: str, path: str) -> Any:
    return client.post(path) if name in WRITES | POSTED else client.get(path)


def test_the_addresses_that_write_are_known() -> None:
    assert ADDRESSES.keys() >= WRITES


@pytest.mark.parametrize("name", sorted(ADDRESSES.keys() - OPEN))
def test_a_stranger_is_asked_to_sign_in(name: str, ids: dict[str, str]) -> None:
    answer = asked(Client(), name, filled(ADDRESSES[name], ids))
    if name != "home":
        assert answer.status_code == 302
        assert answer["Location"].startswith("/login/?next=")


@pytest.mark.parametrize("name", sorted(OWNED))
def test_a_foreign_id_is_as_an_absent_one(
    name: str, ids: dict[str, str], charlie: User, signed_in: Callable[[User], Client]
) -> None:
    absent = {key: "9" * len(value) for key, value in ids.items()}
    foreign = asked(signed_in(charlie), name, filled(OWNED[name], ids))
    missing = asked(signed_in(charlie), name, filled(OWNED[name], absent))
    assert foreign.status_code == missing.status_code == 404
    assert foreign.content == missing.content
    assert _headers(foreign) == _headers(missing)


def _headers(answer: Any) -> dict[str, str]:
    """All but the id, which each request has of its own."""
    return {name: value for name, value in answer.items() if name != HEADER}


@pytest.mark.parametrize("name", sorted(MANAGED))
def test_a_viewer_is_told_who_may_see_it(
    name: str, dora: User, signed_in: Callable[[User], Client]
) -> None:
    page = signed_in(dora).get(ADDRESSES[name])
    assert page.status_code == 403
    assert re.search("Your role here is viewer|Only operators", page.content.decode())


@pytest.mark.parametrize("name", sorted(WRITES))
def test_a_viewer_changes_nothing(
    name: str, ids: dict[str, str], dora: User, signed_in: Callable[[User], Client]
) -> None:
    before = AuditEntry.objects.count()
    assert signed_in(dora).post(filled(ADDRESSES[name], ids)).status_code == 403
    assert AuditEntry.objects.count() == before


@pytest.mark.parametrize("name", sorted(ADDRESSES.keys() - OPEN - MINE - MANAGED - WRITES - DATA))
def test_a_viewer_reads_pages_without_buttons(
    name: str, ids: dict[str, str], dora: User, signed_in: Callable[[User], Client]
) -> None:
    page = signed_in(dora).get(filled(ADDRESSES[name], ids))
    assert page.status_code == 200
    main = page.content.decode().split("<main", 1)[1]
    assert 'method="post"' not in main
    assert "<script>alert" not in main
