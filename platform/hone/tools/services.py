"""Changes to tools, and the call from the page."""

from __future__ import annotations

import asyncio
import json
import re
import secrets
from collections.abc import Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any, cast

from django.conf import settings
from django.db import IntegrityError, transaction
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError

from hone.accounts.models import Organisation, User
from hone.accounts.selectors import access_organisation, access_row
from hone.accounts.services import audit_record
from hone.core import text
from hone.core.errors import UserError
from hone.core.json_text import json_check, object_from_text
from hone.core.net.client import AsyncGuardedClient
from hone.core.net.errors import OutboundError
from hone.core.net.function_call import (
    MASK,
    CallLimits,
    CallOutcome,
    FunctionCall,
    call_function,
)
from hone.core.net.function_call import Effects as EffectsOfCall
from hone.core.net.headers import validate_headers
from hone.core.net.policy import OutboundPolicy
from hone.core.net.target import parse_url
from hone.core.secrets import encrypt
from hone.tools.models import Effects, Tool, ToolVersion
from hone.tools.selectors import access_tool, latest_version, tool_headers

NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
LONGEST_TIMEOUT_S = 600.0
TRIAL_S = 30.0
"""A call from the page holds a thread of the web process, so it ends sooner than a job's."""
MOST_CONCURRENT = 256
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
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class TriedCall:
    """A call from the page: what was sent, with headers masked, and what came of it."""

    request: dict[str, Any]
    headers: dict[str, str]
    outcome: CallOutcome


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
        headers = _kept(fields, before)
        return _version_save(acting_user, locked, fields, headers, number=before.number + 1)


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


def tool_call(
    *, acting_user: User, version: ToolVersion, arguments: str, item: Mapping[str, Any]
) -> TriedCall:
    """Call the tool once from the page, as a rollout would, but without retries."""
    access_tool(acting_user, version.tool_id, need="write")
    object_from_text(text.storable(arguments, field="arguments"), field="arguments")
    json_check(item, field="item")
    call = FunctionCall(
        id=f"fc_{secrets.token_hex(12)}",
        call_id=f"call_{secrets.token_hex(12)}",
        name=version.tool.name,
        arguments=arguments,
        trace_id=f"trace_{secrets.token_hex(16)}",
        item=dict(item),
    )
    headers = tool_headers(version)
    outcome = asyncio.run(_call(version, headers, call))
    request = {"type": "function_call", **{key: value for key, value in vars(call).items()}}
    return TriedCall(request, dict.fromkeys(version.header_names, MASK), outcome)


def address_warning(url: str) -> str:
    """That an address written as numbers, or `localhost`, may not be called; else nothing.

    A name is looked up where a call or a job's check needs it, and not here.
    """
    target = parse_url(url)
    try:
        address = ip_address("127.0.0.1" if target.host == "localhost" else target.host)
    except ValueError:
        return ""
    try:
        policy = OutboundPolicy.parse(settings.OUTBOUND_ALLOW)
        policy.check(target.host, target.port, [address])
    except OutboundError as error:
        return error.message
    return ""


async def _call(
    version: ToolVersion, headers: Mapping[str, str], call: FunctionCall
) -> CallOutcome:
    policy = OutboundPolicy.parse(settings.OUTBOUND_ALLOW)
    limits = CallLimits(
        timeout_s=min(version.timeout_s, TRIAL_S),
        max_attempts=1,
        idempotent=version.idempotent,
        effects=cast(EffectsOfCall, version.effects),
    )
    async with aclosing(AsyncGuardedClient(policy)) as client:
        return await call_function(
            client,
            url=version.url,
            headers=headers,
            call=call,
            limits=limits,
            idempotency_key=call.call_id,
        )


def _version_save(
    acting_user: User, tool: Tool, fields: ToolFields, headers: dict[str, str], *, number: int
) -> ToolVersion:
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
        header_names=sorted(headers),
        created_by=acting_user,
    )
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
