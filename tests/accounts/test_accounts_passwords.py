"""A forgotten password: who may set another one for whom, and that nobody takes over an account."""

from __future__ import annotations

import getpass
import io

import pytest
from django.core.exceptions import PermissionDenied
from django.core.management import CommandError, call_command
from django.http import Http404
from django.test import Client

from hone.accounts.models import AuditEntry, Membership, Organisation, Role, User
from hone.accounts.services import member_set_password

OLD, NEW = "correct horse battery", "nine lives of cats"


def membership_of(person: User) -> Membership:
    return person.memberships.get()


def has(person: User, password: str) -> bool:
    return User.objects.get(pk=person.pk).check_password(password)


def test_an_owner_sets_a_members_password_and_signs_them_out(alice: User, bob: User) -> None:
    browser, owner = Client(), Client()
    browser.force_login(bob)
    owner.force_login(alice)
    path = f"/settings/members/{membership_of(bob).pk}/password/"
    page = owner.post(path, {"password": NEW}, follow=True)
    assert "bob@example.org has a new password." in page.content.decode()
    assert has(bob, NEW)
    assert browser.get("/settings/").status_code == 302
    entry = AuditEntry.objects.get()
    assert (entry.action, entry.actor, entry.target) == (
        "member.password",
        alice,
        "bob@example.org",
    )
    assert NEW not in repr(vars(entry))


def test_a_weak_password_is_refused_at_its_field(alice: User, bob: User) -> None:
    owner = Client()
    owner.force_login(alice)
    path = f"/settings/members/{membership_of(bob).pk}/password/"
    page = owner.post(path, {"password": "short"}).content.decode()
    assert "This password is too short" in page
    assert has(bob, OLD)


def test_nobody_takes_over_a_person_of_another_organisation(
    alice: User, bob: User, charlie: User
) -> None:
    here = membership_of(bob)
    Membership.objects.create(organisation=charlie.organisations.get(), user=bob, role=Role.VIEWER)
    owner = Client()
    owner.force_login(alice)
    page = owner.post(f"/settings/members/{here.pk}/password/", {"password": NEW})
    assert (
        "bob@example.org belongs to another organisation too, so it is not yours to set the "
        "password. The operator can, with `python manage.py set_password bob@example.org`."
    ) in page.content.decode()
    assert has(bob, OLD)
    assert not AuditEntry.objects.exists()


def test_an_admin_sets_no_owners_password(alice: User, bob: User) -> None:
    Membership.objects.filter(user=bob).update(role=Role.ADMIN)
    with pytest.raises(PermissionDenied):
        member_set_password(acting_user=bob, membership=membership_of(alice), password=NEW)
    assert has(alice, OLD)


def test_a_member_and_a_stranger_set_nobodys_password(bob: User, dora: User, charlie: User) -> None:
    with pytest.raises(PermissionDenied):
        member_set_password(acting_user=bob, membership=membership_of(dora), password=NEW)
    with pytest.raises(Http404):
        member_set_password(acting_user=charlie, membership=membership_of(dora), password=NEW)
    assert has(dora, OLD)


def test_ones_own_password_needs_the_current_one(alice: User) -> None:
    with pytest.raises(Exception, match="with the current one"):
        member_set_password(acting_user=alice, membership=membership_of(alice), password=NEW)
    assert has(alice, OLD)


def test_the_operator_sets_anybodys_password(
    bob: User, charlie: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    Membership.objects.create(organisation=charlie.organisations.get(), user=bob, role=Role.VIEWER)
    monkeypatch.setattr(getpass, "getpass", lambda prompt: NEW)
    said = io.StringIO()
    call_command("set_password", " Bob@Example.org ", stdout=said)
    assert said.getvalue() == "bob@example.org has a new password; their browsers are signed out.\n"
    assert has(bob, NEW)
    rows = AuditEntry.objects.values_list("action", "actor", "organisation")
    assert sorted(rows) == sorted(
        ("operator.password", None, each.pk) for each in Organisation.objects.all()
    )


def no_terminal(prompt: str) -> str:
    raise EOFError


def never_asked(prompt: str) -> str:
    pytest.fail("A password was asked for.")


@pytest.mark.parametrize(
    ("command", "way_out"),
    [
        (
            ("create_owner", "eve@example.org", "--organisation", "Eve's"),
            "Run this in a terminal, or set HONE_OWNER_PASSWORD to the password.",
        ),
        (
            ("set_password", "bob@example.org"),
            "Run this in a terminal, or write the password to its standard input.",
        ),
    ],
)
def test_without_a_terminal_a_command_says_what_to_do(
    bob: User, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...], way_out: str
) -> None:
    monkeypatch.setattr(getpass, "getpass", no_terminal)
    with pytest.raises(CommandError) as caught:
        call_command(*command)
    assert str(caught.value) == f"No password was typed, and nothing was changed. {way_out}"
    assert (User.objects.count(), has(bob, OLD)) == (1, True)


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (
            ("create_owner", "bob@example.org", "--organisation", "Bob's"),
            "bob@example.org has an account already. Sign in, or use another address.",
        ),
        (("create_owner", "bob", "--organisation", "Bob's"), "'bob' is no e-mail address."),
        (("set_password", "eve@example.org"), "eve@example.org has no account. Check the address."),
    ],
)
def test_the_address_is_looked_at_before_a_password_is_asked_for(
    bob: User, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...], said: str
) -> None:
    monkeypatch.setattr(getpass, "getpass", never_asked)
    with pytest.raises(CommandError) as caught:
        call_command(*command)
    assert str(caught.value) == said


def test_a_person_without_an_account_is_named(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(getpass, "getpass", lambda prompt: NEW)
    with pytest.raises(CommandError, match=r"^eve@example\.org has no account\. Check"):
        call_command("set_password", "eve@example.org")
