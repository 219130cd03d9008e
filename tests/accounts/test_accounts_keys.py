"""API keys: what is kept of them, what they open, and for how long."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.core.exceptions import PermissionDenied
from django.http import Http404
from django.test import Client
from django.utils import timezone

from hone.accounts.errors import BadKey
from hone.accounts.models import ApiKey, AuditEntry, Membership, Organisation, User
from hone.accounts.selectors import access_key, access_organisation, key_list, may
from hone.accounts.services import member_leave
from hone.accounts.services.keys import key_create, key_open, key_revoke
from hone.core.errors import UserError


def made(user: User, organisation: Organisation, name: str = "ci") -> tuple[ApiKey, str]:
    return key_create(acting_user=user, organisation=organisation, name=name, days=30)


def refusal(plain: str) -> str:
    with pytest.raises(BadKey) as refused:
        key_open(plain)
    return refused.value.code


def test_nothing_that_is_kept_contains_the_key(alice: User, organisation: Organisation) -> None:
    key, plain = made(alice, organisation)
    assert len(plain) == 53
    kept = [*ApiKey.objects.values_list().get(), *AuditEntry.objects.values_list().latest("pk")]
    assert not any(plain[12:] in str(each) for each in kept)
    assert key.prefix == plain[:11]


def test_a_key_is_its_person_in_its_organisation_alone(
    alice: User, charlie: User, organisation: Organisation
) -> None:
    elsewhere = charlie.organisations.get()
    Membership.objects.create(organisation=elsewhere, user=alice, role="owner")
    person = key_open(made(alice, organisation)[1]).user
    assert person == alice
    assert access_organisation(person, organisation.pk) == organisation
    with pytest.raises(Http404):
        access_organisation(person, elsewhere.pk)


def test_a_key_reads_and_does_nothing_else(alice: User, organisation: Organisation) -> None:
    person = key_open(made(alice, organisation)[1]).user
    assert may(person, organisation.pk, "read")
    assert not may(person, organisation.pk, "write")
    with pytest.raises(PermissionDenied, match="This key may not admin"):
        access_organisation(person, organisation.pk, need="admin")


@pytest.mark.parametrize("odd", ["", "hone_", "hone_" + "0" * 48, "sk-x", "hone_" + "é" * 48])
def test_a_text_that_is_no_key_is_refused(db: None, odd: str) -> None:
    assert refusal(odd) == "key_unknown"


def test_a_revoked_key_opens_nothing_at_once(alice: User, organisation: Organisation) -> None:
    key, plain = made(alice, organisation)
    key_revoke(acting_user=alice, key=key)
    assert refusal(plain) == "key_revoked"
    key_revoke(acting_user=alice, key=key)
    assert AuditEntry.objects.filter(action="key.revoke").count() == 1


def test_an_expired_key_says_when(alice: User, organisation: Organisation) -> None:
    key, plain = made(alice, organisation)
    ApiKey.objects.filter(pk=key.pk).update(expires_at=timezone.now() - timedelta(seconds=1))
    assert refusal(plain) == "key_expired"


def test_the_keys_of_who_left_open_nothing(bob: User, organisation: Organisation) -> None:
    _, plain = made(bob, organisation)
    member_leave(acting_user=bob, organisation=organisation)
    assert refusal(plain) == "key_orphaned"


def test_the_keys_of_who_was_suspended_open_nothing(bob: User, organisation: Organisation) -> None:
    _, plain = made(bob, organisation)
    User.objects.filter(pk=bob.pk).update(is_active=False)
    assert refusal(plain) == "key_orphaned"


def test_the_last_use_is_noted_once_a_minute(alice: User, organisation: Organisation) -> None:
    key, plain = made(alice, organisation)
    key_open(plain)
    key.refresh_from_db()
    first = key.last_used_at
    assert first is not None
    key_open(plain)
    key.refresh_from_db()
    assert key.last_used_at == first
    ApiKey.objects.filter(pk=key.pk).update(last_used_at=first - timedelta(minutes=2))
    key_open(plain)
    key.refresh_from_db()
    assert key.last_used_at is not None
    assert key.last_used_at >= first


def test_what_a_program_does_is_no_sign_of_life_of_its_person(
    alice: User, organisation: Organisation
) -> None:
    _, plain = made(alice, organisation)
    headers = {"Authorization": f"Bearer {plain}"}
    assert Client(headers=headers).get("/jobs/ftjob-1/series.json").status_code == 404
    assert Membership.objects.get(user=alice, organisation=organisation).last_seen_at is None


def test_a_name_is_taken_until_its_key_is_revoked(alice: User, organisation: Organisation) -> None:
    key, _ = made(alice, organisation)
    with pytest.raises(UserError, match="You have a key named ci already"):
        made(alice, organisation)
    key_revoke(acting_user=alice, key=key)
    assert made(alice, organisation)[0].pk != key.pk


def test_members_see_their_own_keys_and_who_manages_all(
    alice: User, bob: User, dora: User, charlie: User, organisation: Organisation
) -> None:
    mine, theirs = made(alice, organisation)[0], made(bob, organisation)[0]
    assert list(key_list(bob, organisation)) == [theirs]
    assert set(key_list(alice, organisation)) == {mine, theirs}
    assert access_key(alice, theirs.pk) == theirs
    with pytest.raises(PermissionDenied):
        access_key(dora, theirs.pk)
    with pytest.raises(Http404):
        access_key(charlie, theirs.pk)
