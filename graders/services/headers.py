"""Secret headers of endpoint graders: kept outside of the spec, which shows masks ever after."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from typing import Any

from django.db import transaction

from graders.kinds.endpoint.calling import Headers
from graders.kinds.parts import endpoints_in
from graders.models import GraderVersion
from graders.selectors import access_grader, version_headers
from hone.accounts.models import User
from hone.accounts.services import audit_record
from hone.core.errors import UserError
from hone.core.json_text import json_check
from hone.core.net.errors import OutboundError, OutboundInvalid
from hone.core.net.function_call import MASK
from hone.core.net.headers import validate_headers
from hone.core.net.target import parse_url
from hone.core.secrets import encrypt

Secrets = dict[str, dict[str, str]]


def headers_take(
    spec: Mapping[str, Any], before: GraderVersion | None
) -> tuple[dict[str, Any], Secrets]:
    """The spec with masks, and the values by place. A blank or masked value keeps the one that
    `before` has at the same place, as long as the server is the same."""
    json_check(spec, field="spec")
    masked = copy.deepcopy(dict(spec))
    earlier = version_headers(before) if before is not None else {}
    urls = _urls(before.spec) if before is not None else {}
    taken: Secrets = {}
    for place, part in endpoints_in(masked):
        given = part.get("headers")
        if not isinstance(given, dict) or not given:
            continue
        taken[place] = {
            name: value
            if value not in {"", MASK}
            else _kept(place, name, part, earlier, urls.get(place))
            for name, value in given.items()
            if isinstance(value, str)
        }
        given.update(dict.fromkeys(taken[place], MASK))
    return masked, taken


def headers_fill(spec: Mapping[str, Any], secrets: Headers) -> dict[str, Any]:
    """The spec with its secrets, to be run here and never to be kept or shown."""
    opened = copy.deepcopy(dict(spec))
    for place, part in endpoints_in(opened):
        if isinstance(part.get("headers"), dict):
            part["headers"].update(secrets.get(place, {}))
    return opened


def header_replace(
    *, acting_user: User, version: GraderVersion, place: str, name: str, value: str
) -> None:
    """Send `value` in a header that the version has, from now on; it stays the same version.

    Jobs take it when they next start or go on; one that runs keeps what it began with. Raises
    UserError for a header that it does not have, and for a value that no header can carry.
    """
    access_grader(acting_user, version.grader_id, need="write")
    with transaction.atomic():
        locked = GraderVersion.objects.select_for_update().get(pk=version.pk)
        secrets = version_headers(locked)
        if name not in secrets.get(place, {}):
            raise UserError(
                f"Version {locked.number} has no secret header {name[:200]} at "
                f"{place[:200] or 'its endpoint'}. Choose one of those listed.",
                code="header_unknown",
                field="header",
            )
        if not value or value == MASK:
            raise UserError("Type the new value.", code="header_value", field="value")
        secrets[place][name] = value
        try:
            validate_headers(secrets[place])
        except OutboundInvalid as error:
            raise UserError(str(error), code="header_value", field="value") from error
        # What a version says never changes; only the value of a secret may.
        GraderVersion.objects.filter(pk=locked.pk).update(
            headers_sealed=headers_sealed(locked, secrets)
        )
        audit_record(
            acting_user=acting_user,
            organisation=locked.grader.organisation,
            action="grader.header",
            target=locked.grader_id,
            detail={"number": locked.number, "place": place, "header": name},
        )


def headers_sealed(version: GraderVersion, secrets: Headers) -> str:
    """What is stored of them."""
    return encrypt(json.dumps(secrets), place=version.secret_place)


def version_opened(version: GraderVersion) -> dict[str, Any]:
    """As `headers_fill`, of a stored version."""
    return headers_fill(version.spec, version_headers(version))


def _urls(spec: Mapping[str, Any]) -> dict[str, str]:
    return {place: str(part.get("url")) for place, part in endpoints_in(spec)}


def _kept(place: str, name: str, part: Mapping[str, Any], earlier: Headers, url: str | None) -> str:
    named = f"{place}.headers" if place else "headers"
    value = earlier.get(place, {}).get(name)
    if value is None or url is None:
        raise UserError(
            f"{named}: the header {name[:200]} has no value. Give it one, or take it out.",
            code="header_value",
            field="spec",
        )
    known, asked = _origin(url), _origin(str(part.get("url", "")).strip())
    if known != asked:
        # Whoever may change the address must not learn what was meant for another server.
        raise UserError(
            f"{named}: the value of {name} was given for {known}, and the address is now at "
            f"{asked}. Type the value again, or take the header out.",
            code="header_moved",
            field="spec",
        )
    return value


def _origin(url: str) -> str:
    try:
        return parse_url(url).origin
    except OutboundError:
        return "no address that can be read"
