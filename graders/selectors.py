"""Reading graders; every fetch by id goes through an access door."""

from __future__ import annotations

from typing import cast

from django.contrib.auth.models import AnonymousUser
from django.db.models import QuerySet

from graders.models import Grader, GraderVersion
from hone.accounts.models import Organisation, User
from hone.accounts.selectors import Need, access_row


def access_grader(user: User | AnonymousUser, grader_id: str, *, need: Need = "read") -> Grader:
    """The grader, if the user may `need` it; raises as `access_row` does."""
    return access_row(Grader.objects.select_related("organisation"), user, grader_id, need=need)


def access_grader_version(
    user: User | AnonymousUser, version_id: str, *, need: Need = "read"
) -> GraderVersion:
    """The version, if the user may `need` its grader; raises as `access_row` does."""
    versions = GraderVersion.objects.select_related("grader__organisation", "created_by")
    return access_row(versions, user, version_id, need=need)


def grader_list(organisation: Organisation, *, archived: bool = False) -> QuerySet[Grader]:
    """The organisation's graders by name."""
    graders = Grader.objects.filter(organisation=organisation, archived=archived)
    return graders.select_related("created_by").order_by("name", "id")


def version_list(grader: Grader) -> QuerySet[GraderVersion]:
    """The grader's versions, newest first."""
    return grader.versions.select_related("grader", "created_by").order_by("-number")


def latest_version(grader: Grader) -> GraderVersion:
    """The newest version; every grader has one."""
    return cast(GraderVersion, version_list(grader).first())


def latest_versions(organisation: Organisation) -> list[GraderVersion]:
    """The newest version of each grader that is not archived, by the grader's name."""
    newest: dict[str, GraderVersion] = {}
    versions = GraderVersion.objects.filter(
        grader__organisation=organisation, grader__archived=False
    )
    for version in versions.select_related("grader", "created_by").order_by("number"):
        newest[version.grader_id] = version
    return sorted(newest.values(), key=lambda version: (version.grader.name, version.grader_id))
