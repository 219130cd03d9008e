"""The call from the page, made or answered from a recording, and what an address looks like."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from django.conf import settings

from hone.accounts.models import User
from hone.core import text
from hone.core.json_text import json_check, object_from_text
from hone.core.net.errors import OutboundError
from hone.core.net.function_call import MASK, CallOutcome
from hone.core.net.policy import OutboundPolicy
from hone.core.net.recorded import Answers, Entry, entry_of
from hone.core.net.target import parse_url
from hone.tools.models import Kind, Recording, ToolVersion
from hone.tools.selectors import access_tool, recording_answers, tool_headers
from hone.tools.services.calling import call_version, new_call
from hone.tools.services.recordings import recording_add


@dataclass(frozen=True)
class TriedCall:
    """A call from the page: what was sent, with headers masked, and what came of it."""

    request: dict[str, Any]
    headers: dict[str, str]
    outcome: CallOutcome
    answered_by: str = ""
    """The recording that answered; blank where the tool was called."""
    recorded: Recording | None = None
    """The recording that took the call and its answer."""


def tool_call(
    *,
    acting_user: User,
    version: ToolVersion,
    arguments: str,
    item: Mapping[str, Any],
    replay: Recording | None = None,
    record_as: str = "",
) -> TriedCall:
    """Call the tool once from the page, as a rollout would, but without retries.

    `replay`: nothing is called, the recording answers. `record_as`: the recording that takes the
    call and its answer; it is made where there is none of the name.
    """
    tool = access_tool(acting_user, version.tool_id, need="write")
    object_from_text(text.storable(arguments, field="arguments"), field="arguments")
    json_check(item, field="item")
    recorded = None
    if record_as:
        record_as = text.name(record_as, field="record_as")
    call = new_call(version, arguments, item)
    if replay is not None:
        outcome = _replayed(recording_answers(replay), version, arguments, item)
    else:
        outcome = asyncio.run(call_version(version, tool_headers(version), call))
        entry = entry_of(version.tool.name, arguments, item, outcome)
        if record_as and entry is not None:
            recorded = recording_add(
                acting_user=acting_user,
                organisation=tool.organisation,
                name=record_as,
                source="calls tried on tool pages",
                entries=[entry],
            )
    masked = dict.fromkeys(version.header_names, MASK)
    request = {"type": "function_call", **{key: value for key, value in vars(call).items()}}
    if version.kind == Kind.MCP:
        request = {
            "method": "tools/call",
            "params": {"name": version.remote_name, "arguments": arguments},
        }
    return TriedCall(request, masked, outcome, replay.name if replay else "", recorded)


def _replayed(
    answers: Answers, version: ToolVersion, arguments: str, item: Mapping[str, Any]
) -> CallOutcome:
    found: Entry | str = answers.find(version.tool.name, arguments, item)
    if isinstance(found, str):
        return CallOutcome("fault", None, None, 0, 0.0, 0, 0, error=found)
    return CallOutcome(
        found.status, found.output, found.http_status, 0, 0.0, 0, 0, error=found.error
    )


def allow_entry(url: str) -> str:
    """What the operator adds to HONE_OUTBOUND_ALLOW so that the address may be called."""
    target = parse_url(url)
    host = f"[{target.host}]" if ":" in target.host else target.host
    return f"{host}:{target.port}"


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
