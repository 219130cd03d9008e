"""Settings: members, API keys over HTTP, the audit log, the theme, ids of requests."""

from __future__ import annotations

import csv
import io
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.urls import URLPattern, get_resolver

from hone.accounts.models import ApiKey, AuditEntry, Membership, Organisation, User
from hone.accounts.services import audit_record
from hone.accounts.services.keys import key_create, key_revoke
from hone.core.request_ids import HEADER, RequestIdFilter
from tests.pages.conftest import HOSTILE, Things
from tests.pages.test_pages_tenancy import ADDRESSES

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "user.md"


@pytest.fixture
def owner(alice: User, signed_in: Callable[[User], Client]) -> Client:
    return signed_in(alice)


@pytest.fixture
def plain(alice: User, organisation: Organisation) -> str:
    return key_create(acting_user=alice, organisation=organisation, name="ci", days=30)[1]


def bearing(plain: str) -> Client:
    return Client(headers={"Authorization": f"Bearer {plain}"})


def keyed(resolver: Any) -> list[URLPattern]:
    found = []
    for part in resolver.url_patterns:
        if isinstance(part, URLPattern):
            found += [part] if getattr(part.callback, "opens_to_keys", False) else []
        else:
            found += keyed(part)
    return found


def test_the_guide_names_each_address_that_keys_open() -> None:
    names = sorted(str(part.name) for part in keyed(get_resolver()))
    told = re.search(r"## API keys.*?(?=\n## )", GUIDE.read_text(), re.DOTALL)
    assert told is not None
    assert names == [
        "dataset-download",
        "grader-export",
        "job-adapter",
        "job-checkpoint-download",
        "job-proof",
        "job-report-json",
        "job-results",
        "job-series",
        "job-spec-json",
        "job-steps-csv",
        "trajectory-json",
    ]
    assert [name for name in names if f"`{name}`" not in told[0]] == []


def test_a_key_downloads_what_its_person_may_read(plain: str, things: Things) -> None:
    answer = bearing(plain).get(f"/graders/{things.grader.pk}/v1/export/")
    assert answer.status_code == 200
    assert answer.json()["type"] == "string_check"
    rows = bearing(plain).get(f"/datasets/{things.dataset.pk}/v1/download/")
    assert b"".join(rows).count(b"\n") == 12  # type: ignore[arg-type]


def test_a_foreign_thing_and_an_absent_one_are_the_same_json(charlie: User, things: Things) -> None:
    theirs = charlie.organisations.get()
    _, plain = key_create(acting_user=charlie, organisation=theirs, name="ci", days=None)
    foreign = bearing(plain).get(f"/graders/{things.grader.pk}/v1/export/")
    absent = bearing(plain).get("/graders/grader-0000000000000000/v1/export/")
    assert foreign.status_code == absent.status_code == 404
    assert foreign.json() == absent.json()
    assert foreign.json()["error"]["code"] == "not_found"


@pytest.mark.parametrize("scheme", ["Bearer", "bearer"])
def test_a_wrong_key_is_401_with_what_to_do(things: Things, scheme: str) -> None:
    stranger = Client(headers={"Authorization": f"{scheme} hone_wrong"})
    answer = stranger.get(f"/graders/{things.grader.pk}/v1/export/")
    assert answer.status_code == 401
    assert answer["WWW-Authenticate"] == 'Bearer realm="hone"'
    error = answer.json()["error"]
    assert error["code"] == "key_unknown"
    assert "Make one under Settings, API keys" in error["message"]


def test_a_wrong_key_is_401_also_beside_a_session(owner: Client, things: Things) -> None:
    path = f"/graders/{things.grader.pk}/v1/export/"
    assert owner.get(path).status_code == 200
    assert owner.get(path, headers={"Authorization": "Bearer nonsense"}).status_code == 401


def test_a_key_opens_no_page_and_changes_nothing(plain: str, things: Things) -> None:
    before = AuditEntry.objects.count()
    for name, path in [("page", "/jobs/"), ("audit", "/settings/audit/entries.csv")]:
        answer = bearing(plain).get(path)
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "address_closed"), name
    posted = bearing(plain).post(f"/graders/{things.grader.pk}/archive/")
    assert posted.status_code == 403
    written = bearing(plain).post(f"/graders/{things.grader.pk}/v1/export/")
    assert (written.status_code, written.json()["error"]["code"]) == (405, "key_reads")
    assert AuditEntry.objects.count() == before


def test_a_key_opens_no_session(plain: str, things: Things) -> None:
    program = bearing(plain)
    program.get(f"/graders/{things.grader.pk}/v1/export/")
    assert "sessionid" not in program.cookies
    del program.defaults["HTTP_AUTHORIZATION"]
    assert program.get(f"/graders/{things.grader.pk}/v1/export/").status_code == 302


def test_other_schemes_are_not_for_us(owner: Client, things: Things) -> None:
    headers = {"Authorization": "Basic cHJveHk6cHJveHk="}
    assert owner.get(f"/graders/{things.grader.pk}/v1/export/", headers=headers).status_code == 200


def test_a_key_is_in_no_line_of_the_log(
    plain: str, things: Things, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    bearing(plain).get(f"/graders/{things.grader.pk}/v1/export/")
    bearing(f"{plain}0").get(f"/graders/{things.grader.pk}/v1/export/")
    bearing(plain).get("/jobs/")
    assert "hone_" not in caplog.text


def test_a_new_key_is_on_the_answer_to_its_form_and_nowhere_else(owner: Client) -> None:
    made = owner.post("/settings/keys/", {"name": "laptop", "days": ""})
    shown = re.findall(r"hone_[0-9a-f]{48}", made.content.decode())
    assert len(set(shown)) == 1
    assert "no-store" in made["Cache-Control"]
    again = owner.get("/settings/keys/").content.decode()
    assert shown[0] not in again
    assert f"{shown[0][:11]}…" in again
    assert ApiKey.objects.get().expires_at is None
    taken = owner.post("/settings/keys/", {"name": "laptop", "days": "30"}).content.decode()
    assert "No key was made." in taken
    assert ApiKey.objects.count() == 1


@pytest.mark.parametrize("form", [{"name": ""}, {"name": "a", "days": "12"}, {"name": "x" * 65}])
def test_a_bad_form_makes_no_key(owner: Client, form: dict[str, str]) -> None:
    assert "No key was made." in owner.post("/settings/keys/", form).content.decode()
    assert not ApiKey.objects.exists()


def test_revoking_says_that_it_works_at_once(
    owner: Client, plain: str, things: Things, alice: User
) -> None:
    key = ApiKey.objects.get()
    page = owner.post(f"/settings/keys/{key.pk}/revoke/", follow=True).content.decode()
    assert "ci is revoked" in page
    assert "No keys." in page
    assert bearing(plain).get(f"/graders/{things.grader.pk}/v1/export/").status_code == 401
    key_revoke(acting_user=alice, key=key)


def test_the_last_owner_reads_why_there_is_no_leaving(owner: Client, bob: User) -> None:
    assert "the last owner cannot leave" in owner.get("/settings/members/").content.decode()
    assert "You are the last owner" in owner.get("/settings/").content.decode()
    page = owner.post("/settings/members/leave/", follow=True).content.decode()
    assert "Make somebody else an owner first." in page
    assert Membership.objects.count() == 2


def test_a_member_leaves_and_the_log_keeps_it(
    bob: User, organisation: Organisation, signed_in: Callable[[User], Client]
) -> None:
    browser = signed_in(bob)
    assert (
        "You left Acme." in browser.post("/settings/members/leave/", follow=True).content.decode()
    )
    assert not Membership.objects.filter(user=bob).exists()
    assert AuditEntry.objects.get(action="member.leave").detail == {"role": "member"}
    assert browser.get("/settings/members/").status_code == 404


def test_who_was_here_is_noted_at_most_every_ten_minutes(owner: Client, alice: User) -> None:
    User.objects.update(last_login=None)
    owner.get("/settings/members/")
    first = Membership.objects.get(user=alice).last_seen_at
    assert first is not None
    assert "just now" in owner.get("/settings/members/").content.decode()
    assert Membership.objects.get(user=alice).last_seen_at == first


def test_the_log_is_filtered_and_paged(
    owner: Client, alice: User, bob: User, organisation: Organisation
) -> None:
    for number in range(60):
        actor = bob if number % 2 else alice
        audit_record(
            acting_user=actor, organisation=organisation, action="tool.archive",
            target=f"thing {number}", detail={"name": HOSTILE},
        )  # fmt: skip
    page = owner.get("/settings/audit/").content.decode()
    assert page.count("<tr>") == 51
    assert "⟦U+202E⟧" in page
    assert "<script>alert" not in page
    older = re.search(r'href="(\?before=\d+)"', page)
    assert older is not None
    assert owner.get(f"/settings/audit/{older[1]}").content.decode().count("<tr>") == 11
    mine = f"person={bob.pk}&thing=thing 1"
    assert owner.get(f"/settings/audit/?{mine}").content.decode().count("<tr>") == 7
    lines = b"".join(owner.get(f"/settings/audit/entries.csv?{mine}"))  # type: ignore[arg-type]
    assert len(list(csv.DictReader(io.StringIO(lines.decode())))) == 6


@pytest.mark.parametrize("bad", ["since=tomorrow", "person=9999", "verb=x", "until=9999-12-31"])
def test_a_filter_that_cannot_be_read_leaves_out_nothing(owner: Client, bad: str) -> None:
    page = owner.get(f"/settings/audit/?{bad}")
    assert page.status_code == 200
    assert ("This filter was left out." in page.content.decode()) == ("9999-" not in bad)


def test_the_theme_comes_back_to_the_page_and_to_no_other_site(owner: Client) -> None:
    answer = owner.post(
        "/settings/theme/", {"theme": "dark"}, headers={"Referer": "http://testserver/tools/?x=1"}
    )
    assert answer["Location"] == "/tools/?x=1"
    assert 'data-theme="dark"' in owner.get("/settings/").content.decode()
    away = owner.post(
        "/settings/theme/", {"theme": "light"}, headers={"Referer": "https://elsewhere.example/a"}
    )
    assert away["Location"] == "/"


def test_the_bar_leads_everywhere(owner: Client, alice: User) -> None:
    page = owner.get("/settings/").content.decode()
    for address in ("/search/", "/settings/members/", "/settings/keys/", "/settings/audit/"):
        assert f'"{address}"' in page
    assert "/settings/system/" not in page
    User.objects.filter(pk=alice.pk).update(is_operator=True)
    assert "/settings/system/" in owner.get("/settings/").content.decode()
    assert {"keys", "audit", "search"} <= ADDRESSES.keys()


def test_a_fault_names_its_request_and_the_log_has_it(
    alice: User, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("hone.accounts.views.people.member_list", lambda _: 1 / 0)
    caplog.handler.addFilter(RequestIdFilter())
    browser = Client(raise_request_exception=False)
    browser.force_login(alice)
    page = browser.get("/settings/members/")
    assert page.status_code == 500
    assert re.fullmatch(r"req-[0-9a-f]{16}", page[HEADER])
    assert page[HEADER] in page.content.decode()
    assert page[HEADER] in {getattr(record, "request_id", "") for record in caplog.records}
