"""Signing in, members, settings, health and error pages."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.test import Client

from hone.accounts.models import Membership, Organisation, Role, SignInFailure, User

SECRET = "correct horse battery"


def try_sign_in(password: str, **more: str) -> int:
    form = {"email": "Alice@example.org", "password": password, **more}
    return Client().post("/login/", form).status_code


def test_the_right_password_signs_in_and_goes_on(alice: User) -> None:
    form = {"email": "Alice@example.org", "password": SECRET, "next": "/tools/"}
    assert Client().post("/login/", form)["Location"] == "/tools/"


def test_signing_in_leads_to_no_other_site(alice: User) -> None:
    form = {"email": "alice@example.org", "password": SECRET, "next": "https://elsewhere.example/"}
    assert Client().post("/login/", form)["Location"] == "/"


def test_ten_failures_close_the_door_for_that_address_only(alice: User, bob: User) -> None:
    assert [try_sign_in("wrong") for _ in range(10)] == [200] * 10
    page = Client().post("/login/", {"email": "alice@example.org", "password": SECRET})
    assert "10 failed sign-ins" in page.content.decode()
    other = Client().post("/login/", {"email": "bob@example.org", "password": SECRET})
    assert other.status_code == 302


def test_a_right_password_clears_the_failures(alice: User) -> None:
    try_sign_in("wrong")
    assert try_sign_in(SECRET) == 302
    assert SignInFailure.objects.count() == 0


def test_a_session_that_ended_says_so_in_the_fragment(db: None) -> None:
    headers = {"HX-Request": "true", "HX-Target": "pulse"}
    page = Client().get("/settings/", headers=headers, follow=True)
    assert 'id="pulse"' in page.content.decode()
    assert "hx-get" not in page.content.decode()


def test_an_admin_adds_changes_and_removes_a_member(
    alice: User, organisation: Organisation, signed_in: Callable[[User], Client]
) -> None:
    browser = signed_in(alice)
    form = {"email": "new@example.org", "role": "viewer", "password": SECRET}
    assert browser.post("/settings/members/add/", form).status_code == 302
    added = Membership.objects.get(user__email="new@example.org")
    browser.post(f"/settings/members/{added.pk}/role/", {"role": "member"})
    added.refresh_from_db()
    assert added.role == Role.MEMBER
    browser.post(f"/settings/members/{added.pk}/remove/")
    assert not Membership.objects.filter(pk=added.pk).exists()


def test_a_refused_member_keeps_what_was_typed(
    alice: User, signed_in: Callable[[User], Client]
) -> None:
    form = {"email": "new@example.org", "role": "viewer", "password": "short"}
    page = signed_in(alice).post("/settings/members/add/", form).content.decode()
    assert 'value="new@example.org"' in page
    assert "Nothing was saved." in page
    assert not User.objects.filter(email="new@example.org").exists()


def test_the_last_owner_stays(alice: User, signed_in: Callable[[User], Client]) -> None:
    mine = alice.memberships.get()
    page = signed_in(alice).post(f"/settings/members/{mine.pk}/remove/", follow=True)
    assert "last owner" in page.content.decode()
    assert Membership.objects.filter(pk=mine.pk).exists()


def test_a_password_is_changed_with_the_current_one(
    alice: User, signed_in: Callable[[User], Client]
) -> None:
    form = {"current": "wrong", "password": "another long phrase"}
    page = signed_in(alice).post("/settings/", form)
    assert "not your current password" in page.content.decode()
    assert signed_in(alice).post("/settings/", {**form, "current": SECRET}).status_code == 302
    alice.refresh_from_db()
    assert alice.check_password("another long phrase")


def test_the_theme_is_kept_in_the_browser(alice: User, signed_in: Callable[[User], Client]) -> None:
    browser = signed_in(alice)
    browser.post("/settings/browser/", {"theme": "dark"})
    page = browser.get("/settings/").content.decode()
    assert 'data-theme="dark"' in page
    assert "js/keys.js" not in page


def test_switching_needs_membership(
    alice: User, charlie: User, signed_in: Callable[[User], Client]
) -> None:
    elsewhere = charlie.organisations.get().pk
    assert signed_in(alice).post("/organisation/", {"organisation": elsewhere}).status_code == 404


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_machines_learn_that_it_works(path: str, db: None) -> None:
    assert Client().get(path).status_code == 200


def test_a_form_without_its_token_is_refused_in_words(alice: User) -> None:
    browser = Client(enforce_csrf_checks=True)
    page = browser.post("/login/", {"email": "alice@example.org", "password": SECRET})
    assert page.status_code == 403
    assert "out of date" in page.content.decode()
