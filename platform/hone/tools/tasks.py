"""Celery tasks: doorbells that carry an id."""

from __future__ import annotations

import logging

from celery import shared_task

from hone.tools.services import mcp_server_refresh, tool_check_run

log = logging.getLogger(__name__)


@shared_task(name="tools.check")  # type: ignore[untyped-decorator]
def check(check_id: int) -> None:
    """Run a contract test."""
    done = tool_check_run(check_id)
    if done is not None:
        log.info("contract test %s: %s", check_id, done.status)


@shared_task(name="tools.list_server")  # type: ignore[untyped-decorator]
def list_server(server_id: str) -> None:
    """Ask an MCP server for its tools."""
    mcp_server_refresh(server_id)
