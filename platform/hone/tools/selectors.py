"""Reading tools: the access door, lists, and headers: masked for people, opened for workers."""

from __future__ import annotations

import json

from django.contrib.auth.models import AnonymousUser
from django.db.models import QuerySet

from hone.accounts.models import Organisation, User
from hone.accounts.selectors import Need, access_row
from hone.core.net.function_call import MASK
from hone.core.secrets import decrypt
from hone.tools.models import Tool, ToolVersion


def access_tool(user: User | AnonymousUser, tool_id: object, *, need: Need = "read") -> Tool:
    """The tool, if the user may; a foreign id and an absent one are the same 404."""
    return access_row(Tool.objects.all(), user, tool_id, need=need)


def tool_list(organisation: Organisation) -> QuerySet[Tool]:
    """Tools that are not archived, with their versions fetched."""
    rows = Tool.objects.filter(organisation=organisation, archived=False)
    return rows.prefetch_related("versions").order_by("name", "id")


def latest_version(tool: Tool) -> ToolVersion:
    """The newest version; every tool has one."""
    return tool.versions.order_by("-number")[0]


def tool_headers(version: ToolVersion) -> dict[str, str]:
    """The secret headers in plain text: for a call or the engine's pipe, never for a page."""
    if not version.headers_sealed:
        return {}
    opened: dict[str, str] = json.loads(decrypt(version.headers_sealed, place=version.secret_place))
    return opened


def masked_headers(version: ToolVersion) -> dict[str, str]:
    """What people see of the headers, for ever after."""
    return dict.fromkeys(version.header_names, MASK)
