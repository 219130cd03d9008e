"""Tools and their versions: registered, changed, archived."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from django.db import IntegrityError, transaction
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError

from hone.accounts.models import Organisation, User
from hone.accounts.selectors import access_organisation, access_row
from hone.accounts.services import audit_record
from hone.core import text
from hone.core.errors import UserError
from hone.core.json_text import json_check
from hone.core.net.errors import OutboundError
from hone.core.net.function_call import MASK
from hone.core.net.headers import validate_headers
from hone.core.net.target import parse_url
from hone.core.secrets import encrypt
from hone.tools.models import Effects, Tool, ToolVersion
from hone.tools.selectors import access_tool, latest_version, tool_headers

NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
LONGEST_TIMEOUT_S = 600.0
MOST_CONCURRENT = 256
USUAL_RATE = 50.0
HIGHEST_RATE = 10_000.0
LIMITS = ("timeout_s", "max_concurrency", "rate_limit")
LONGEST_DESCRIPTION = 4000
LONGEST_URL = 2000
LONGEST_SCHEMA = 64_000


def _no_arguments() -> dict[str, Any]:
    return {"type": "object", "properties": {}}


@dataclass(frozen=True, kw_only=True)
class ToolFields:
    """What a version says. A header with an empty or masked value keeps its earlier one, as long
    as the server is the same."""

    url: str
    description: str = ""
    parameters: Mapping[str, Any] = field(default_factory=_no_arguments)
    effects: str = Effects.READS
    idempotent: bool = True
    timeout_s: float = 60.0
    max_concurrency: int = 32
    rate_limit: float = USUAL_RATE
    headers: Mapping[str, str] = field(default_factory=dict)


def tool_create(
    *, acting_user: User, organisation: Organisation, name: str, fields: ToolFields
) -> ToolVersion:
    """Register a tool; returns its version 1."""
    access_organisation(acting_user, organisation.id, need="write")
    name = _checked_name(name)
    _check(fields)
    try:
        with transaction.atomic():
            tool = Tool.objects.create(organisation=organisation, name=name, created_by=acting_user)
            return _version_save(acting_user, tool, fields, _kept(fields, None), number=1)
    except IntegrityError as error:
        raise UserError(
            f"A tool is called {name!r} already. Change that one, or use another name.",
            code="name_taken",
            field="name",
        ) from error


def tool_version_add(*, acting_user: User, tool: Tool, fields: ToolFields) -> ToolVersion:
    """The next version; jobs that run keep the one they were made with."""
    access_tool(acting_user, tool.pk, need="write")
    _check(fields)
    with transaction.atomic():
        locked = access_row(Tool.objects.select_for_update(), acting_user, tool.pk, need="write")
        if locked.archived:
            raise UserError(
                f"{locked.name} is archived, so it takes no new version. Register a new tool.",
                code="archived",
            )
        before = latest_version(locked)
        number = before.number + 1
        if before.mcp_server_id is not None:
            _refuse_told_otherwise(fields, before)
            return _version_save(acting_user, locked, fields, {}, number=number, remote=before)
        headers = _kept(fields, before)
        return _version_save(acting_user, locked, fields, headers, number=number)


def tool_archive(*, acting_user: User, tool: Tool) -> None:
    """Take the tool off the lists; jobs that use its versions keep them."""
    access_tool(acting_user, tool.pk, need="write")
    with transaction.atomic():
        if Tool.objects.filter(pk=tool.pk, archived=False).update(archived=True):
            audit_record(
                acting_user=acting_user,
                organisation=tool.organisation,
                action="tool.archive",
                target=tool.pk,
                detail={"name": tool.name},
            )


def _refuse_told_otherwise(fields: ToolFields, before: ToolVersion) -> None:
    """Of a tool of an MCP server, only how it is called is said here."""
    told = (fields.url, fields.description, dict(fields.parameters), dict(fields.headers))
    if told != (before.url, before.description, before.parameters, {}):
        raise UserError(
            f"{before.tool.name} is a tool of the MCP server {before.mcp_server}, which says what "
            "it takes. Import it again from there.",
            code="mcp_tool",
        )


def _version_save(
    acting_user: User,
    tool: Tool,
    fields: ToolFields,
    headers: dict[str, str],
    *,
    number: int,
    remote: ToolVersion | None = None,
) -> ToolVersion:
    """`remote`: the version before, of a tool of an MCP server."""
    version = ToolVersion(
        tool=tool,
        number=number,
        description=fields.description,
        parameters=dict(fields.parameters),
        url=fields.url.strip(),
        effects=fields.effects,
        idempotent=fields.idempotent,
        timeout_s=fields.timeout_s,
        max_concurrency=fields.max_concurrency,
        rate_limit=fields.rate_limit,
        header_names=sorted(headers),
        created_by=acting_user,
    )
    if remote is not None:
        version.kind, version.mcp_server = remote.kind, remote.mcp_server
        version.remote_name, version.header_names = remote.remote_name, remote.header_names
    if headers:
        version.headers_sealed = encrypt(json.dumps(headers), place=version.secret_place)
    version.save()
    audit_record(
        acting_user=acting_user,
        organisation=tool.organisation,
        action="tool.version",
        target=tool.pk,
        detail={
            "name": tool.name,
            "number": number,
            "url": version.url,
            "headers": version.header_names,
        },
    )
    return version


def _kept(fields: ToolFields, before: ToolVersion | None) -> dict[str, str]:
    """The headers to store: a blank or masked value keeps what was there."""
    earlier = tool_headers(before) if before else {}
    stored = {}
    for name, value in fields.headers.items():
        if value not in {"", MASK}:
            stored[name] = value
        elif before is not None and name in earlier:
            _refuse_moved(name, before.url, fields.url.strip())
            stored[name] = earlier[name]
        else:
            raise UserError(
                f"The header {name} has no value. Give it one, or take it out.",
                code="header_value",
                field="headers",
            )
    return stored


def _refuse_moved(name: str, before: str, now: str) -> None:
    """Whoever may change the address must not learn what was meant for another server."""
    known, asked = parse_url(before).origin, parse_url(now).origin
    if known != asked:
        raise UserError(
            f"The value of {name} was given for {known}, and the address is now at {asked}. "
            "Type the value again, or delete the line.",
            code="header_moved",
            field="headers",
        )


def _checked_name(name: str) -> str:
    name = text.storable(name, field="name").strip()
    if not NAME.fullmatch(name):
        raise UserError(
            f"{name[:80]!r} is no tool name. Use 1 to 64 letters, digits, `_` or `-`.",
            code="tool_name",
            field="name",
        )
    return name


def tool_problems(fields: ToolFields, name: str | None = None) -> list[UserError]:
    """What is wrong with each field, the first of each; `None` is a tool that has its name."""
    checks: list[Callable[[ToolFields], None]] = [
        _check_url,
        _check_description,
        _check_headers,
        _check_schema,
        _check_effects,
        _check_timeout,
        _check_concurrency,
        _check_rate,
    ]
    found = []
    try:
        if name is not None:
            _checked_name(name)
    except UserError as error:
        found.append(error)
    for check in checks:
        try:
            check(fields)
        except UserError as error:
            found.append(error)
    return found


def _check(fields: ToolFields) -> None:
    for problem in tool_problems(fields):
        raise problem


def _check_description(fields: ToolFields) -> None:
    text.storable(fields.description, field="description")
    if len(fields.description) > LONGEST_DESCRIPTION:
        raise UserError(
            f"The description has {len(fields.description)} characters; at most "
            f"{LONGEST_DESCRIPTION} fit.",
            field="description",
        )


def _check_url(fields: ToolFields) -> None:
    if len(fields.url) > LONGEST_URL:
        raise UserError(
            f"The URL has {len(fields.url)} characters; at most {LONGEST_URL} fit.",
            code="url",
            field="url",
        )
    try:
        parse_url(text.storable(fields.url, field="url").strip())
    except OutboundError as error:
        raise UserError(str(error), code="url", field="url") from error


def _check_headers(fields: ToolFields) -> None:
    try:
        validate_headers({name: value or "x" for name, value in fields.headers.items()})
    except (OutboundError, ValueError) as error:
        raise UserError(str(error), code="headers", field="headers") from error


def _check_schema(fields: ToolFields) -> None:
    json_check(fields.parameters, field="parameters")
    fault = _schema_fault(dict(fields.parameters))
    if fault:
        raise UserError(
            f"This is no JSON schema of arguments: {fault}.", code="tool_schema", field="parameters"
        )


def _schema_fault(parameters: dict[str, Any]) -> str:
    if parameters.get("type", "object") != "object":
        return f"its type is {str(parameters['type'])[:80]!r}, and arguments are an object"
    length = len(json.dumps(parameters, ensure_ascii=False))
    if length > LONGEST_SCHEMA:
        return f"it has {length} characters, and at most {LONGEST_SCHEMA} fit"
    try:
        Draft202012Validator.check_schema(parameters)
    except SchemaError as error:
        return str(error.message)[:200].rstrip(".")
    return ""


def _check_effects(fields: ToolFields) -> None:
    if fields.effects not in Effects.values:
        raise UserError(
            f"{fields.effects!r} is none of {', '.join(Effects.values)}.", field="effects"
        )


def _check_timeout(fields: ToolFields) -> None:
    if not 0 < fields.timeout_s <= LONGEST_TIMEOUT_S:
        raise UserError(
            f"The time limit is {fields.timeout_s:g} s; use more than 0 and at most "
            f"{LONGEST_TIMEOUT_S:g}.",
            field="timeout_s",
        )


def _check_concurrency(fields: ToolFields) -> None:
    if not 1 <= fields.max_concurrency <= MOST_CONCURRENT:
        raise UserError(
            f"{fields.max_concurrency} calls at once; use 1 to {MOST_CONCURRENT}.",
            field="max_concurrency",
        )


def _check_rate(fields: ToolFields) -> None:
    if not 0 < fields.rate_limit <= HIGHEST_RATE:
        raise UserError(
            f"{fields.rate_limit:g} calls a second; use more than 0 and at most {HIGHEST_RATE:g}.",
            field="rate_limit",
        )
