"""Calls one version of a tool from the platform itself, in the words of a rollout."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from contextlib import aclosing
from typing import Any, cast

from django.conf import settings

from hone.core.net.attempts import EndpointGuard
from hone.core.net.client import AsyncGuardedClient
from hone.core.net.function_call import (
    CallLimits,
    CallOutcome,
    Effects,
    FunctionCall,
    call_function,
)
from hone.core.net.policy import OutboundPolicy
from hone.tools.models import Kind, ToolVersion

TRIAL_S = 30.0
"""A call from a page holds a thread of the web process, so it ends sooner than a job's."""


def new_call(version: ToolVersion, arguments: str, item: Mapping[str, Any]) -> FunctionCall:
    """A call with ids of its own."""
    return FunctionCall(
        id=f"fc_{secrets.token_hex(12)}",
        call_id=f"call_{secrets.token_hex(12)}",
        name=version.tool.name,
        arguments=arguments,
        trace_id=f"trace_{secrets.token_hex(16)}",
        item=dict(item),
    )


async def call_version(
    version: ToolVersion,
    headers: Mapping[str, str],
    call: FunctionCall,
    *,
    key: str = "",
    guard: EndpointGuard | None = None,
    client: AsyncGuardedClient | None = None,
) -> CallOutcome:
    """One call without retries that ends within `TRIAL_S`."""
    if client is None:
        policy = OutboundPolicy.parse(settings.OUTBOUND_ALLOW)
        async with aclosing(AsyncGuardedClient(policy)) as own:
            return await call_version(version, headers, call, key=key, guard=guard, client=own)
    limits = CallLimits(
        timeout_s=min(version.timeout_s, TRIAL_S),
        max_attempts=1,
        idempotent=version.idempotent,
        effects=cast(Effects, version.effects),
    )
    key, guard = key or call.call_id, guard or EndpointGuard()
    if version.kind == Kind.HTTP:
        return await call_function(
            client,
            url=version.url,
            headers=headers,
            call=call,
            limits=limits,
            idempotency_key=key,
            guard=guard,
        )
    # The SDK takes a second to load, which processes that know no MCP server need not spend.
    from hone.core.net.mcp_calls import McpServer  # noqa: PLC0415

    async with aclosing(McpServer(client, version.url, headers)) as server:
        return await server.call(
            call, version.remote_name, limits=limits, idempotency_key=key, guard=guard
        )
