"""The access doors: who may see or change what."""

from __future__ import annotations

import pytest
from django.core.exceptions import PermissionDenied
from django.db import connection
from django.http import Http404
from django.test import Client
from django.test.utils import CaptureQueriesContext
from pytest_django import DjangoAssertNumQueries

from hone.accounts.models import AuditEntry, Membership, Organisation, Role, User
from hone.accounts.selectors import access_organisation
from hone.accounts.services import member_add, member_remove, member_set_role, owner_create
from hone.core.errors import UserError


def test_a_viewer_reads_but_may_not_write(dora: User, organisation: Organisation) -> None:
    assert access_organisation(dora, organisation.id) == organisation
    with pytest.raises(PermissionDenied, match="Your role here is viewer"):
        access_organisation(dora, organisation.id, need="write")


def test_foreign_and_absent_are_the_same_answer(charlie: User, organisation: Organisation) -> None:
    with pytest.raises(Http404) as foreign:
        access_organisation(charlie, organisation.id)
    with pytest.raises(Http404) as absent:
        access_organisation(charlie, "org-0000000000000000")
    assert str(foreign.value) == str(absent.value)


@pytest.mark.parametrize("odd", ["org-1\x00", "x" * 201])
def test_an_id_that_no_database_takes_is_not_looked_up(
    alice: User, django_assert_num_queries: DjangoAssertNumQueries, odd: str
) -> None:
    with django_assert_num_queries(0), pytest.raises(Http404):
        access_organisation(alice, odd)


def test_a_page_and_its_doors_read_the_memberships_once(
    alice: User, organisation: Organisation
) -> None:
    client = Client()
    client.force_login(alice)
    for path in ("/settings/members/", "/jobs/new/", "/tools/new/"):
        with CaptureQueriesContext(connection) as asked:
            assert client.get(path).status_code == 200
        mine = [each for each in asked if 'FROM "accounts_membership"' in each["sql"]]
        assert len([each for each in mine if f'"user_id" = {alice.pk}' in each["sql"]]) == 1, path


def test_a_role_that_was_taken_is_gone_with_the_next_request(
    alice: User, bob: User, organisation: Organisation
) -> None:
    client = Client()
    client.force_login(bob)
    assert client.get("/tools/new/").status_code == 200
    Membership.objects.filter(user=bob, organisation=organisation).update(role=Role.VIEWER)
    assert client.get("/tools/new/").status_code == 403
    Membership.objects.filter(user=bob, organisation=organisation).delete()
    assert client.get("/tools/new/").status_code == 404


def test_a_suspended_person_sees_nothing(bob: User, organisation: Organisation) -> None:
    bob.is_active = False
    with pytest.raises(Http404):
        access_organisation(bob, organisation.id)


def test_an_owner_is_created_with_an_organisation(db: None) -> None:
    user, organisation = owner_create(
        email=" Eve@Example.org ", password="nine lives of cats", organisation_name="Nine"
    )
    assert (user.email, organisation.name) == ("eve@example.org", "Nine")
    assert Membership.objects.get(user=user).role == Role.OWNER
    assert AuditEntry.objects.get().action == "organisation.create"


def test_a_weak_password_makes_nobody(db: None) -> None:
    with pytest.raises(UserError, match="too short"):
        owner_create(email="eve@example.org", password="short", organisation_name="Nine")
    assert not User.objects.exists()


def test_a_member_may_not_add_people(bob: User, organisation: Organisation) -> None:
    with pytest.raises(PermissionDenied):
        member_add(
            acting_user=bob,
            organisation=organisation,
            email="new@example.org",
            role=Role.MEMBER,
            password="nine lives of cats",
        )
    assert not User.objects.filter(email="new@example.org").exists()


def test_the_last_owner_stays(alice: User, organisation: Organisation) -> None:
    membership = Membership.objects.get(user=alice)
    with pytest.raises(UserError, match="last owner"):
        member_remove(acting_user=alice, membership=membership)
    with pytest.raises(UserError, match="last owner"):
        member_set_role(acting_user=alice, membership=membership, role=Role.ADMIN)
    assert Membership.objects.get(user=alice).role == Role.OWNER


def test_an_admin_makes_no_owner(alice: User, bob: User, organisation: Organisation) -> None:
    membership = Membership.objects.get(user=bob)
    member_set_role(acting_user=alice, membership=membership, role=Role.ADMIN)
    with pytest.raises(PermissionDenied):
        member_set_role(acting_user=bob, membership=membership, role=Role.OWNER)


def test_an_audit_row_is_never_changed(alice: User, organisation: Organisation) -> None:
    entry = AuditEntry.objects.create(organisation=organisation, action="x", target="y")
    with pytest.raises(ValueError, match="never changed"):
        entry.save()
