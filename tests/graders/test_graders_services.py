"""Graders as rows: creating, saving versions, archiving, and who may."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.core.exceptions import PermissionDenied
from django.http import Http404

from graders.errors import GraderArchived, GraderVersionChanged, InvalidSpec
from graders.models import Grader, GraderVersion
from graders.selectors import (
    access_grader,
    access_grader_version,
    grader_list,
    latest_version,
    latest_versions,
    version_list,
)
from graders.services import (
    grader_archive,
    grader_create,
    grader_version_add,
    spec_check,
)
from hone.accounts.models import AuditEntry, Organisation, User
from hone.core.errors import UserError


def check(reference: str = "{{item.answer}}") -> dict[str, Any]:
    return {
        "type": "string_check",
        "input": "{{sample.output_text}}",
        "reference": reference,
        "operation": "eq",
    }


@pytest.fixture
def grader(bob: User, organisation: Organisation) -> Grader:
    return grader_create(acting_user=bob, organisation=organisation, name=" refund ", spec=check())


def test_a_new_grader_has_version_one_and_an_audit_row(grader: Grader, bob: User) -> None:
    version = latest_version(grader)
    assert (grader.name, version.number, version.spec, version.kind) == (
        "refund",
        1,
        check(),
        "string_check",
    )
    assert AuditEntry.objects.get().action == "grader.create"
    assert len(version.sha256) == 64


def test_a_viewer_may_look_but_not_write(
    grader: Grader, dora: User, organisation: Organisation
) -> None:
    assert access_grader(dora, grader.id) == grader
    with pytest.raises(PermissionDenied):
        grader_create(acting_user=dora, organisation=organisation, name="x", spec=check())
    with pytest.raises(PermissionDenied):
        grader_version_add(acting_user=dora, grader=grader, spec=check("x"), edited=1)
    with pytest.raises(PermissionDenied):
        grader_archive(acting_user=dora, grader=grader)
    assert GraderVersion.objects.count() == 1


def test_a_foreign_grader_is_as_absent(grader: Grader, charlie: User) -> None:
    said = set()
    for identifier in (grader.id, "grader-0000000000000000"):
        with pytest.raises(Http404) as refusal:
            access_grader(charlie, identifier)
        said.add(str(refusal.value))
    with pytest.raises(Http404) as refusal:
        access_grader_version(charlie, latest_version(grader).id)
    with pytest.raises(Http404):
        grader_version_add(acting_user=charlie, grader=grader, spec=check("x"), edited=1)
    assert said == {str(refusal.value)}


def test_a_version_is_reached_through_its_graders_organisation(grader: Grader, dora: User) -> None:
    version = latest_version(grader)
    assert access_grader_version(dora, version.id) == version
    with pytest.raises(PermissionDenied):
        access_grader_version(dora, version.id, need="write")


def test_a_name_is_used_once_in_an_organisation(
    grader: Grader, bob: User, charlie: User, organisation: Organisation
) -> None:
    with pytest.raises(UserError, match="named refund already"):
        grader_create(acting_user=bob, organisation=organisation, name="refund", spec=check())
    elsewhere = charlie.organisations.get()
    grader_create(acting_user=charlie, organisation=elsewhere, name="refund", spec=check())
    assert [Grader.objects.filter(name="refund").count(), GraderVersion.objects.count()] == [2, 2]


def test_the_name_of_an_archived_grader_is_free_again(
    grader: Grader, bob: User, organisation: Organisation
) -> None:
    grader_archive(acting_user=bob, grader=grader)
    second = grader_create(acting_user=bob, organisation=organisation, name="refund", spec=check())
    assert list(grader_list(organisation)) == [second]
    with pytest.raises(UserError, match="named refund already"):
        grader_create(acting_user=bob, organisation=organisation, name="refund", spec=check())
    grader_archive(acting_user=bob, grader=second)
    assert grader_list(organisation, archived=True).count() == 2


def test_a_bad_spec_leaves_nothing(bob: User, organisation: Organisation) -> None:
    with pytest.raises(InvalidSpec, match=r"operation: .*Did you mean `like`") as refusal:
        grader_create(
            acting_user=bob,
            organisation=organisation,
            name="x",
            spec=check() | {"operation": "liek"},
        )
    assert refusal.value.param == "operation"
    assert not Grader.objects.exists()
    assert not AuditEntry.objects.exists()


def test_saving_makes_the_next_version(grader: Grader, alice: User) -> None:
    version = grader_version_add(acting_user=alice, grader=grader, spec=check("x"), edited=1)
    assert (version.number, [one.number for one in version_list(grader)]) == (2, [2, 1])
    assert latest_version(grader).spec == check("x")


def test_the_same_spec_makes_no_version(grader: Grader, alice: User) -> None:
    shuffled = dict(reversed(check().items()))
    version = grader_version_add(acting_user=alice, grader=grader, spec=shuffled, edited=1)
    assert (version.number, GraderVersion.objects.count()) == (1, 1)


def test_an_older_edit_is_told_who_saved_meanwhile(grader: Grader, alice: User, bob: User) -> None:
    grader_version_add(acting_user=alice, grader=grader, spec=check("x"), edited=1)
    with pytest.raises(GraderVersionChanged) as refusal:
        grader_version_add(acting_user=bob, grader=grader, spec=check("y"), edited=1)
    assert refusal.value.code == "grader_version_changed"
    assert "Alice saved refund v2 while you edited v1" in refusal.value.message
    assert GraderVersion.objects.count() == 2


@pytest.mark.parametrize("edited", [0, 2, 7])
def test_only_the_latest_version_can_be_the_edited_one(
    grader: Grader, alice: User, edited: int
) -> None:
    with pytest.raises(GraderVersionChanged):
        grader_version_add(acting_user=alice, grader=grader, spec=check("x"), edited=edited)
    assert GraderVersion.objects.count() == 1


def test_a_version_is_never_changed(grader: Grader) -> None:
    version = latest_version(grader)
    version.number = 7
    with pytest.raises(ValueError, match="never changed"):
        version.save()


def test_an_archived_grader_leaves_the_list_and_takes_no_version(
    grader: Grader, bob: User, organisation: Organisation
) -> None:
    assert [list(grader_list(organisation)), len(latest_versions(organisation))] == [[grader], 1]
    grader_archive(acting_user=bob, grader=grader)
    assert [list(grader_list(organisation)), latest_versions(organisation)] == [[], []]
    assert list(grader_list(organisation, archived=True)) == [grader]
    with pytest.raises(GraderArchived):
        grader_version_add(acting_user=bob, grader=grader, spec=check("x"), edited=1)


@pytest.mark.parametrize(
    ("reference", "said"),
    [("a\x00b", "NUL character"), ("\ud800", "lone surrogate")],
)
def test_text_that_no_database_holds_is_refused(
    bob: User, organisation: Organisation, reference: str, said: str
) -> None:
    with pytest.raises(UserError, match=said):
        grader_create(acting_user=bob, organisation=organisation, name="x", spec=check(reference))
    with pytest.raises(UserError, match=said):
        grader_create(acting_user=bob, organisation=organisation, name=reference, spec=check())


def test_a_spec_has_up_to_a_megabyte() -> None:
    spec_check(check("x" * (1_000_000 - len(json.dumps(check(""))))))
    with pytest.raises(UserError, match="1000001 bytes; at most 1000000 are kept"):
        spec_check(check("x" * (1_000_001 - len(json.dumps(check(""))))))
