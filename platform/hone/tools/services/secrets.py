"""New values of secret headers, beside the old ones; and the way back."""

from __future__ import annotations

from django.db import transaction

from hone.accounts.models import User
from hone.accounts.selectors import access_row
from hone.accounts.services import audit_record
from hone.core.errors import UserError
from hone.core.net.errors import OutboundInvalid
from hone.core.net.headers import validate_headers
from hone.core.net.target import parse_url
from hone.core.secrets import encrypt
from hone.tools.models import McpServer, Secret, Tool
from hone.tools.selectors import latest_version

Owner = Tool | McpServer


def secret_rotate(*, acting_user: User, owner: Owner, name: str, value: str) -> Secret:
    """Send `value` in the header `name` from now on. Earlier values are kept beside it.

    Jobs take it when they next start or go on; one that runs keeps what it began with.
    """
    with transaction.atomic():
        locked = _locked(acting_user, owner)
        if name not in header_names(locked):
            raise UserError(
                f"{locked.name} has no secret header {name[:200]}. Add it to a new version first.",
                code="header_unknown",
                field="header",
            )
        _check_value(name, value)
        secret = secret_add(acting_user, locked, name, value)
        _note(acting_user, locked, "secret_rotate", secret)
    return secret


def secret_withdraw(*, acting_user: User, owner: Owner, secret_id: str) -> None:
    """Send the value before this one again."""
    with transaction.atomic():
        locked = _locked(acting_user, owner)
        values = list(locked.secrets.filter(withdrawn=False))
        secret = next((each for each in values if each.pk == secret_id), None)
        if secret is None:
            raise UserError("This value is withdrawn already.", code="withdrawn")
        others = [each for each in values if each.name == secret.name and each != secret]
        if isinstance(locked, McpServer) and not others:
            raise UserError(
                f"{secret.name} has no other value. Give it a new one first.", code="last_value"
            )
        Secret.objects.filter(pk=secret.pk).update(withdrawn=True)
        _note(acting_user, locked, "secret_withdraw", secret)


def secret_add(acting_user: User, owner: Owner, name: str, value: str) -> Secret:
    """The next value of a header. The caller has locked the owner in a transaction."""
    last = owner.secrets.filter(name=name).order_by("-number").first()
    secret = Secret(
        tool=owner if isinstance(owner, Tool) else None,
        server=owner if isinstance(owner, McpServer) else None,
        origin=parse_url(address(owner)).origin[:300],
        name=name,
        number=last.number + 1 if last else 1,
        created_by=acting_user,
    )
    secret.sealed = encrypt(value, place=secret.place)
    secret.save()
    return secret


def header_names(owner: Owner) -> list[str]:
    """The secret headers that are sent."""
    named = owner if isinstance(owner, McpServer) else latest_version(owner)
    return list(named.header_names)


def address(owner: Owner) -> str:
    """Where they are sent."""
    return owner.url if isinstance(owner, McpServer) else latest_version(owner).url


def _locked(acting_user: User, owner: Owner) -> Owner:
    locked: Owner
    if isinstance(owner, McpServer):
        rows = McpServer.objects.select_for_update()
        locked = access_row(rows, acting_user, owner.pk, need="write")
    else:
        locked = access_row(Tool.objects.select_for_update(), acting_user, owner.pk, need="write")
        if latest_version(locked).mcp_server_id is not None:
            raise UserError(
                "Its headers are those of its MCP server. Change them there.", code="mcp_tool"
            )
    if locked.archived:
        raise UserError(f"{locked.name} is archived.", code="archived")
    return locked


def _check_value(name: str, value: str) -> None:
    if not value:
        raise UserError(f"The header {name} has no value. Give it one.", field="value")
    try:
        validate_headers({name: value})
    except OutboundInvalid as error:
        raise UserError(error.message, code="headers", field="value") from error


def _note(acting_user: User, owner: Owner, action: str, secret: Secret) -> None:
    kind = "mcp" if isinstance(owner, McpServer) else "tool"
    audit_record(
        acting_user=acting_user,
        organisation=owner.organisation,
        action=f"{kind}.{action}",
        target=owner.pk,
        detail={"name": owner.name, "header": secret.name, "value": secret.number},
    )
