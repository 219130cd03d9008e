"""MCP servers: registered by URL, asked for their tools, which become tools here.

What a server lists is untrusted text. It is stored as it came, with its hash, and becomes a tool,
or the next version of one, only when a person imports it.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any, Literal

from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils import timezone

from hone.accounts.models import Organisation, User
from hone.accounts.selectors import access_organisation
from hone.accounts.services import audit_record
from hone.core import text
from hone.core.errors import UserError
from hone.core.json_text import json_check
from hone.core.net.client import AsyncGuardedClient
from hone.core.net.errors import OutboundError
from hone.core.net.policy import OutboundPolicy
from hone.tools.models import Effects, Kind, McpServer, Tool, ToolVersion
from hone.tools.selectors import access_mcp_server, imported_tools, server_headers
from hone.tools.services.bell import LIST_SERVER, ring
from hone.tools.services.register import (
    LIMITS,
    LONGEST_DESCRIPTION,
    MOST_CONCURRENT,
    ToolFields,
    tool_problems,
)
from hone.tools.services.secrets import secret_add

LIST_S = 15.0
ASK_AGAIN = timedelta(hours=1)
ASKED_AT_ONCE = 10
_ODD = re.compile(r"[^A-Za-z0-9_-]+")

State = Literal["new", "same", "changed", "gone", "refused"]


@dataclass(frozen=True)
class Offer:
    """A tool of the server beside what is known of it here."""

    name: str
    description: str
    parameters: dict[str, Any]
    state: State
    version: ToolVersion | None = None
    problem: str = ""


def mcp_server_create(
    *,
    acting_user: User,
    organisation: Organisation,
    name: str,
    url: str,
    headers: Mapping[str, str],
) -> McpServer:
    """Register a server. It is asked for its tools once that is done."""
    access_organisation(acting_user, organisation.id, need="write")
    name = text.name(name, longest=64)
    _check(url, headers)
    try:
        with transaction.atomic():
            server = McpServer.objects.create(
                organisation=organisation,
                name=name,
                url=url.strip(),
                header_names=sorted(headers),
                created_by=acting_user,
            )
            for header, value in sorted(headers.items()):
                secret_add(acting_user, server, header, value)
            _note(acting_user, server, "create", {"url": server.url, "headers": sorted(headers)})
    except IntegrityError as error:
        raise UserError(
            f"An MCP server is called {name!r} already. Use another name.",
            code="name_taken",
            field="name",
        ) from error
    return server


def mcp_server_archive(*, acting_user: User, server: McpServer) -> None:
    """Take it off the lists, with nothing more asked of it; its tools stay as they are."""
    access_mcp_server(acting_user, server.pk, need="write")
    with transaction.atomic():
        if McpServer.objects.filter(pk=server.pk, archived=False).update(archived=True):
            _note(acting_user, server, "archive", {})


def mcp_server_ask(*, acting_user: User, server: McpServer) -> McpServer:
    """Ask the server for its tools now."""
    server = access_mcp_server(acting_user, server.pk, need="write")
    return mcp_server_refresh(server.pk)


def mcp_server_refresh(server_id: str) -> McpServer:
    """Ask for the list and store it with its hash, or why there is none; an older list stays."""
    server = McpServer.objects.get(pk=server_id)
    now = timezone.now()
    try:
        listed, digest = asyncio.run(_list(server.url, server_headers(server)))
        for tool in listed:
            json_check(tool, field=str(tool["name"])[:80])
    except (OutboundError, UserError) as error:
        McpServer.objects.filter(pk=server.pk).update(asked_at=now, list_error=error.message)
    else:
        if digest != server.list_sha256:
            server.listed, server.list_sha256 = listed, digest
        server.asked_at = server.listed_at = now
        server.list_error = ""
        server.save(update_fields=["listed", "list_sha256", "asked_at", "listed_at", "list_error"])
    server.refresh_from_db()
    return server


def mcp_servers_due() -> int:
    """Ring for servers that were not asked for an hour."""
    late = timezone.now() - ASK_AGAIN
    due = McpServer.objects.filter(archived=False, asked_at__lt=late)
    rung = 0
    for server in due.order_by("asked_at", "pk")[:ASKED_AT_ONCE]:
        # Of several sweepers, the one that moves the time rings.
        if due.filter(pk=server.pk).update(asked_at=timezone.now()):
            with transaction.atomic():
                ring(LIST_SERVER, server.pk)
            rung += 1
    return rung


def mcp_offers(server: McpServer) -> list[Offer]:
    """What the server lists, compared with what was imported from it."""
    known = imported_tools(server)
    offers = []
    for tool in server.listed:
        version = known.pop(tool["name"], None)
        problem = _problem(tool)
        state: State = "new"
        if problem:
            state = "refused"
        elif version is not None:
            state = "same" if _says_the_same(tool, version) else "changed"
        offers.append(
            Offer(tool["name"], tool["description"], tool["parameters"], state, version, problem)
        )
    for name, version in known.items():
        offers.append(Offer(name, version.description, version.parameters, "gone", version))
    return offers


@transaction.atomic
def mcp_tools_import(
    *,
    acting_user: User,
    server: McpServer,
    names: Sequence[str],
    effects: str = Effects.READS,
    idempotent: bool = True,
) -> list[ToolVersion]:
    """Make tools, or next versions, of these tools of the server's list. What a server says of
    its own side effects is not believed, so the person says it."""
    server = access_mcp_server(acting_user, server.pk, need="write")
    offers = {offer.name: offer for offer in mcp_offers(server) if offer.state != "gone"}
    unknown = [name for name in names if name not in offers]
    if unknown or not names:
        said = f"The server lists no tool {unknown[0]!r}." if unknown else "No tool was chosen."
        raise UserError(f"{said} Choose from its list.", code="mcp_tool_unknown", field="names")
    refused = [offers[name] for name in names if offers[name].problem]
    if refused:
        raise UserError(f"{refused[0].name}: {refused[0].problem}", code="mcp_tool_refused")
    return [
        _import(acting_user, server, offers[name], effects, idempotent)
        for name in names
        if offers[name].state != "same"
    ]


def local_name(remote: str) -> str:
    """The server's name in the letters that a model may use."""
    return _ODD.sub("_", remote).strip("_")[:64]


def _import(
    acting_user: User, server: McpServer, offer: Offer, effects: str, idempotent: bool
) -> ToolVersion:
    before, limits = offer.version, {}
    if before is None:
        tool, number = _new_tool(acting_user, server, offer.name), 1
    else:
        tool = Tool.objects.select_for_update().get(pk=before.tool_id)
        number, effects, idempotent = before.number + 1, before.effects, before.idempotent
        limits = {name: getattr(before, name) for name in LIMITS}
    if effects not in Effects.values:
        raise UserError(f"{effects!r} is none of {', '.join(Effects.values)}.", field="effects")
    version = ToolVersion(
        tool=tool,
        number=number,
        description=offer.description,
        parameters=offer.parameters,
        url=server.url,
        effects=effects,
        idempotent=idempotent,
        kind=Kind.MCP,
        mcp_server=server,
        remote_name=offer.name,
        header_names=server.header_names,
        created_by=acting_user,
        **limits,
    )
    version.save()
    _note(acting_user, server, "import", {"tool": tool.name, "number": number, "from": offer.name})
    return version


def _new_tool(acting_user: User, server: McpServer, remote: str) -> Tool:
    name = local_name(remote)
    taken = Tool.objects.filter(organisation=server.organisation, name=name, archived=False)
    if taken.exists():
        raise UserError(
            f"A tool is called {name!r} already, so {remote!r} cannot be imported beside it. "
            "Archive that one first.",
            code="name_taken",
            field="names",
        )
    return Tool.objects.create(organisation=server.organisation, name=name, created_by=acting_user)


def _says_the_same(tool: Mapping[str, Any], version: ToolVersion) -> bool:
    listed = (tool["description"], tool["parameters"])
    return (version.description, version.parameters) == listed


def _problem(tool: Mapping[str, Any]) -> str:
    """Why a listed tool cannot become one here; nothing where it can."""
    if not local_name(tool["name"]):
        return f"{tool['name'][:80]!r} holds no letter that a tool's name may have."
    if len(tool["name"]) > 200:
        return f"Its name has {len(tool['name'])} characters; at most 200 fit."
    if len(tool["description"]) > LONGEST_DESCRIPTION:
        return (
            f"Its description has {len(tool['description'])} characters; at most "
            f"{LONGEST_DESCRIPTION} fit."
        )
    fields = ToolFields(
        url="https://example.org/",
        description=tool["description"],
        parameters=tool["parameters"],
        max_concurrency=MOST_CONCURRENT,
    )
    problems = tool_problems(fields)
    return problems[0].message if problems else ""


def _check(url: str, headers: Mapping[str, str]) -> None:
    blank = next((name for name, value in headers.items() if not value), None)
    if blank is not None:
        raise UserError(f"The header {blank} has no value. Give it one.", field="headers")
    for problem in tool_problems(ToolFields(url=url, headers=headers)):
        raise problem


async def _list(url: str, headers: Mapping[str, str]) -> tuple[list[dict[str, Any]], str]:
    # The SDK takes a second to load, which processes that know no MCP server need not spend.
    from hone.core.net.mcp_calls import McpServer as Server  # noqa: PLC0415
    from hone.core.net.mcp_calls import list_hash  # noqa: PLC0415

    policy = OutboundPolicy.parse(settings.OUTBOUND_ALLOW)
    async with (
        aclosing(AsyncGuardedClient(policy)) as client,
        aclosing(Server(client, url, headers)) as server,
    ):
        tools = await server.list_tools(timeout_s=LIST_S)
    return [asdict(tool) for tool in tools], list_hash(tools)


def _note(acting_user: User, server: McpServer, action: str, detail: dict[str, Any]) -> None:
    audit_record(
        acting_user=acting_user,
        organisation=server.organisation,
        action=f"mcp.{action}",
        target=server.pk,
        detail={"name": server.name, **json.loads(json.dumps(detail))},
    )
