"""Creating graders and saving their versions."""

from __future__ import annotations

from typing import Any

from django.db import IntegrityError, transaction

from graders.errors import FixturesFail, GraderArchived, GraderVersionChanged
from graders.models import Grader, GraderVersion
from graders.selectors import access_grader, fixture_list, latest_version, version_headers
from graders.services.fixtures import Outcome, fixtures_run, results_save
from graders.services.headers import Secrets, headers_fill, headers_sealed, headers_take
from graders.services.specs import spec_check, spec_hash
from hone.accounts.models import Organisation, User
from hone.accounts.selectors import access_organisation
from hone.accounts.services import audit_record
from hone.core import text
from hone.core.errors import UserError


def grader_create(
    *, acting_user: User, organisation: Organisation, name: str, spec: dict[str, Any]
) -> Grader:
    """A new grader with its version 1."""
    access_organisation(acting_user, organisation.id, need="write")
    name = text.name(name)
    spec, secrets = headers_take(spec, None)
    spec_check(headers_fill(spec, secrets), organisation=organisation)
    try:
        with transaction.atomic():
            grader = Grader.objects.create(
                organisation=organisation, name=name, created_by=acting_user
            )
            _version_save(acting_user, grader, number=1, spec=spec, secrets=secrets)
            _record(acting_user, grader, "grader.create", {"name": name})
    except IntegrityError as error:
        raise UserError(
            f"There is a grader named {name} already. Choose another name, or edit that one.",
            code="name_taken",
            field="name",
        ) from error
    return grader


def grader_version_add(
    *, acting_user: User, grader: Grader, spec: dict[str, Any], edited: int, reason: str = ""
) -> GraderVersion:
    """Save `spec` as the next version; `edited` is the number of the version that was changed.

    A spec equal to the latest makes no new version. Raises GraderVersionChanged where somebody
    else saved one after `edited`, and FixturesFail where fixtures do not get their score and no
    `reason` says why that is right.
    """
    access_grader(acting_user, grader.id, need="write")
    newest = latest_version(grader)
    spec, secrets = headers_take(spec, newest)
    opened = headers_fill(spec, secrets)
    spec_check(opened, organisation=grader.organisation)
    if newest.number == edited and _same(newest, spec, secrets):
        return newest
    outcomes = fixtures_run(grader.organisation, opened, fixture_list(grader))
    failing, reason = _failing(outcomes, reason)
    try:
        with transaction.atomic():
            locked = Grader.objects.select_for_update().get(pk=grader.pk)
            if locked.archived:
                raise GraderArchived(locked.name)
            latest = latest_version(locked)
            if latest.number != edited:
                raise _changed(latest, edited)
            if _same(latest, spec, secrets):
                return latest
            version = _version_save(
                acting_user, locked, number=edited + 1, spec=spec, secrets=secrets, reason=reason
            )
            results_save(version, outcomes)
            detail = {"failing_fixtures": failing, "reason": reason} if failing else {}
            _record(acting_user, locked, "grader.version", {"number": version.number, **detail})
    except IntegrityError as error:
        raise _changed(latest_version(grader), edited) from error
    return version


def grader_archive(*, acting_user: User, grader: Grader) -> None:
    """Take the grader off the lists; jobs that use its versions keep them."""
    access_grader(acting_user, grader.id, need="write")
    if grader.archived:
        return
    with transaction.atomic():
        grader.archived = True
        grader.save(update_fields=["archived"])
        _record(acting_user, grader, "grader.archive", {"name": grader.name})


def _version_save(
    acting_user: User,
    grader: Grader,
    *,
    number: int,
    spec: dict[str, Any],
    secrets: Secrets,
    reason: str = "",
) -> GraderVersion:
    version = GraderVersion(
        grader=grader,
        number=number,
        spec=spec,
        sha256=spec_hash(spec),
        reason=reason,
        created_by=acting_user,
    )
    if secrets:
        version.headers_sealed = headers_sealed(version, secrets)
    version.save()
    return version


def _same(version: GraderVersion, spec: dict[str, Any], secrets: Secrets) -> bool:
    return version.sha256 == spec_hash(spec) and version_headers(version) == secrets


def _failing(outcomes: list[Outcome], reason: str) -> tuple[list[str], str]:
    """The names of fixtures that fail, and the reason to save all the same."""
    failing = [outcome.fixture.name for outcome in outcomes if not outcome.passed]
    reason = text.storable(reason, field="reason").strip()
    if failing and not reason:
        raise FixturesFail(outcomes, failing)
    return failing, reason if failing else ""


def _changed(latest: GraderVersion, edited: int) -> GraderVersionChanged:
    return GraderVersionChanged(
        name=latest.grader.name,
        latest=latest.number,
        edited=edited,
        author=str(latest.created_by),
    )


def _record(acting_user: User, grader: Grader, action: str, detail: dict[str, Any]) -> None:
    audit_record(
        acting_user=acting_user,
        organisation=grader.organisation,
        action=action,
        target=grader.id,
        detail=detail,
    )
