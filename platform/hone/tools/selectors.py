"""Reading tools: the access door, lists, and headers: masked for people, opened for workers."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import timedelta

from django.contrib.auth.models import AnonymousUser
from django.db.models import Max, QuerySet, Sum
from django.utils import timezone

from hone.accounts.models import Organisation, User
from hone.accounts.selectors import Need, access_row
from hone.core.net.function_call import MASK
from hone.core.net.recorded import Answers, unpacked
from hone.core.net.target import parse_url
from hone.core.secrets import decrypt
from hone.tools.models import McpServer, Recording, Secret, Tool, ToolCheck, ToolVersion


@dataclass(frozen=True)
class Lately:
    """Calls of the contract tests of the last 24 hours, and how many of them were faults."""

    calls: int
    faults: int


def access_tool(user: User | AnonymousUser, tool_id: object, *, need: Need = "read") -> Tool:
    """The tool, if the user may; a foreign id and an absent one are the same 404."""
    return access_row(Tool.objects.all(), user, tool_id, need=need)


def access_tool_version(
    user: User | AnonymousUser, version_id: object, *, need: Need = "read"
) -> ToolVersion:
    """The version with that id, if the user may `need` its tool."""
    found = ToolVersion.objects.filter(pk=str(version_id)[:40])
    version = found.first()
    access_tool(user, version.tool_id if version else "", need=need)
    return found.get()


def tool_list(organisation: Organisation) -> QuerySet[Tool]:
    """Tools that are not archived, with their versions fetched."""
    rows = Tool.objects.filter(organisation=organisation, archived=False)
    return rows.prefetch_related("versions").order_by("name", "id")


def tool_search(organisation: Organisation, text: str, limit: int) -> list[Tool]:
    """Tools whose name holds the text, archived ones last."""
    rows = Tool.objects.filter(organisation=organisation, name__icontains=text)
    return list(rows.order_by("archived", "name", "id")[:limit])


def latest_version(tool: Tool) -> ToolVersion:
    """The newest version; every tool has one."""
    return tool.versions.order_by("-number")[0]


def tool_headers(version: ToolVersion) -> dict[str, str]:
    """The secret headers in plain text: for a call or the engine's pipe, never for a page.

    A value that was given since the version was saved, for the same server, is the one to send.
    """
    if version.mcp_server is not None:
        return server_headers(version.mcp_server)
    if not version.headers_sealed:
        return {}
    opened: dict[str, str] = json.loads(decrypt(version.headers_sealed, place=version.secret_place))
    newer = {secret.name: secret for secret in _newer(version)}
    return {
        name: decrypt(newer[name].sealed, place=newer[name].place) if name in newer else value
        for name, value in opened.items()
    }


def server_headers(server: McpServer) -> dict[str, str]:
    """The secret headers of an MCP server in plain text."""
    newest = {secret.name: secret for secret in _newest(server)}
    return {
        name: decrypt(newest[name].sealed, place=newest[name].place)
        for name in server.header_names
        if name in newest
    }


def _newer(version: ToolVersion) -> QuerySet[Secret]:
    """Values given since the version was saved, for the same server; the newest last."""
    given = version.tool.secrets.filter(withdrawn=False, created_at__gt=version.created_at)
    return given.filter(origin=parse_url(version.url).origin[:300]).order_by("number")


def _newest(server: McpServer) -> QuerySet[Secret]:
    """Values for where the server is now; the newest last."""
    given = server.secrets.filter(withdrawn=False)
    return given.filter(origin=parse_url(server.url).origin[:300]).order_by("number")


def secrets_sent(owner: Tool | McpServer) -> list[Secret]:
    """The values that are sent now, one a header. A header without one sends what was typed when
    the version was saved."""
    values = _newest(owner) if isinstance(owner, McpServer) else _newer(latest_version(owner))
    return list({secret.name: secret for secret in values}.values())


def secret_list(owner: Tool | McpServer) -> list[Secret]:
    """All values of the headers by number and date, never by what they are; the newest first."""
    return list(owner.secrets.select_related("created_by").order_by("name", "-number"))


def masked_headers(version: ToolVersion) -> dict[str, str]:
    """What people see of the headers, for ever after."""
    return dict.fromkeys(version.header_names, MASK)


def access_mcp_server(
    user: User | AnonymousUser, server_id: object, *, need: Need = "read"
) -> McpServer:
    """The server, if the user may; a foreign id and an absent one are the same 404."""
    return access_row(McpServer.objects.all(), user, server_id, need=need)


def mcp_server_list(organisation: Organisation) -> QuerySet[McpServer]:
    """Servers that are not archived."""
    return McpServer.objects.filter(organisation=organisation, archived=False)


def imported_tools(server: McpServer) -> dict[str, ToolVersion]:
    """The newest version of each tool that came from the server, by the server's name for it."""
    rows = ToolVersion.objects.filter(mcp_server=server, tool__archived=False)
    newest = rows.select_related("tool").order_by("tool_id", "number")
    last = {version.tool_id: version for version in newest}
    return {version.remote_name: version for version in last.values()}


def access_recording(
    user: User | AnonymousUser, recording_id: object, *, need: Need = "read"
) -> Recording:
    """The recording, if the user may; a foreign id and an absent one are the same 404."""
    return access_row(Recording.objects.all(), user, recording_id, need=need)


def recording_list(organisation: Organisation) -> QuerySet[Recording]:
    """Recordings that are not archived, without their content."""
    return Recording.objects.filter(organisation=organisation, archived=False).defer("content")


def recording_answers(recording: Recording) -> Answers:
    """What the recording answers."""
    return Answers(recording.name, unpacked(bytes(recording.content)))


def check_list(tool: Tool, most: int = 30) -> list[ToolCheck]:
    """The newest contract tests of all its versions."""
    rows = ToolCheck.objects.filter(version__tool=tool)
    return list(rows.select_related("version", "created_by").order_by("-pk")[:most])


def latest_checks(organisation: Organisation) -> dict[str, ToolCheck]:
    """The newest contract test that ended, by tool."""
    ended = ToolCheck.objects.filter(
        version__tool__organisation=organisation, ended_at__isnull=False
    )
    last = ended.values("version__tool").annotate(last=Max("pk")).values("last")
    rows = ToolCheck.objects.filter(pk__in=last).select_related("version")
    return {check.version.tool_id: check for check in rows}


def checks_lately(organisation: Organisation) -> dict[str, Lately]:
    """What the contract tests of the last 24 hours saw, by tool."""
    since = timezone.now() - timedelta(hours=24)
    ended = ToolCheck.objects.filter(
        version__tool__organisation=organisation, ended_at__gte=since
    ).values_list("version__tool")
    sums = ended.annotate(Sum("calls"), Sum("faults"))
    return {tool: Lately(calls, faults) for tool, calls, faults in sums}
